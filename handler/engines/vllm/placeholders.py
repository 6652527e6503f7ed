"""The placeholder tokens that vLLM has for a model's media."""

from collections.abc import Callable, Iterator
from typing import Any

from vllm.model_executor.model_loader import get_model_cls
from vllm.renderers.chat_utils import MODALITY_PLACEHOLDERS_MAP

from handler.engines.placeholders import PlaceholderEscaper, config_tokens, escaper_of

Placeholder = Callable[[int], str | None]  # the text that stands for the n-th image of a prompt


def placeholder_escaper(model_config: Any, tokenizer: Any) -> PlaceholderEscaper:
    """The escaper for a model. `tokenizer` decides which separator breaks its tokens."""
    if not model_config.is_multimodal_model:
        return PlaceholderEscaper(None, "")
    return escaper_of(_tokens(model_config, tokenizer), tokenizer)


def image_placeholder(model_config: Any) -> Placeholder:
    """The text that stands for an image in the model's raw prompts; None where there is none."""

    def placeholder(number: int) -> str | None:
        try:
            found: str | None = get_model_cls(model_config).get_placeholder_str("image", number)
        except (AttributeError, ValueError, NotImplementedError):  # text only, or media of another kind
            return None
        return found

    return placeholder


def lacks_placeholder(model_config: Any) -> bool:
    """Whether the model takes media, and no text stands for them in its prompts: its processor places them."""
    model_cls = get_model_cls(model_config)
    for modality in ("image", "audio", "video"):
        try:
            return model_cls.get_placeholder_str(modality, 1) is None
        except (AttributeError, ValueError, NotImplementedError):  # a modality that the model lacks
            continue
    return False


def _tokens(model_config: Any, tokenizer: Any) -> Iterator[str]:
    yield from MODALITY_PLACEHOLDERS_MAP.values()
    for config in (model_config.hf_config, getattr(model_config.hf_config, "thinker_config", None)):
        if config is not None:
            yield from config_tokens(config, tokenizer)
    model_cls = get_model_cls(model_config)
    vocabulary = [str(token) for token in getattr(tokenizer, "all_special_tokens", ())]
    for modality in ("image", "video", "audio"):
        try:
            placeholder = model_cls.get_placeholder_str(modality, 1)
        except (ValueError, NotImplementedError):  # a modality that the model lacks
            continue
        if placeholder:
            yield placeholder
            yield from (token for token in vocabulary if token in placeholder and len(token) > 1)
