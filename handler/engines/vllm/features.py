"""Features of images that clients send in place of images, looked at before the engine gets them: there, a tensor of
the wrong width ends the process."""

from typing import Any

from vllm.multimodal.media import ImageEmbeddingMediaIO

from handler.engine import Embeds, Prompt
from handler.errors import InvalidRequest


def check_features(prompt: Prompt, model_config: Any) -> None:
    """Raises InvalidRequest for features that are no tensor, or not as wide as the model's own.

    Several tensors by name are the model's own business: only that each can be read is looked at.
    """
    for message in prompt.messages:
        for part in message.content or ():
            if isinstance(part, Embeds):
                _check(part, model_config.get_inputs_embeds_size())


def _check(embeds: Embeds, width: int) -> None:
    single = isinstance(embeds.data, str)
    for data in [embeds.data] if isinstance(embeds.data, str) else embeds.data.values():
        try:
            tensor = ImageEmbeddingMediaIO().load_base64("", data)
        except Exception as fault:  # whatever unpickling, numpy or torch make of it
            raise InvalidRequest(
                "The features of the image are no tensor in the format of torch.save or of numpy.", param=embeds.path
            ) from fault
        if single and (tensor.ndim not in (2, 3) or tensor.shape[-1] != width):
            raise InvalidRequest(
                f"The features of the image have the shape {tuple(tensor.shape)}; the model's have the width {width}.",
                param=embeds.path,
            )
