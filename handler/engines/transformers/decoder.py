"""A model of transformers: prompts -> a batch and its first logits; a batch and a token for each row -> the next logits."""

from collections.abc import Callable, Hashable, Sequence
from inspect import signature
from typing import Any

import torch
from torch.nn.functional import pad
from transformers.cache_utils import DynamicCache

from handler.engines.transformers.batch import Batch
from handler.engines.transformers.prompts import Inputs

# What a processor makes for each token of a prompt; the rest belongs to the images.
_OF_TOKENS = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids", "cross_attention_mask")


class Decoder:
    """Runs `model`. To be used in one thread, in inference mode."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.device: torch.device = model.device
        text = model.config.get_text_config(decoder=True)
        self._image_layers = frozenset(getattr(text, "cross_attention_layers", None) or ())
        has_field = "logits_to_keep" in signature(model.forward).parameters
        self._last_logits = {"logits_to_keep": 1} if has_field else {}

    def prefill(self, prompts: Sequence[Inputs]) -> tuple[Batch, torch.Tensor]:
        """The prompts, which have the same `shape`, as a batch, and the logits of their first tokens."""
        tensors = self._collate(prompts)
        ids, mask = tensors.pop("input_ids"), tensors.pop("attention_mask")
        cache = DynamicCache()
        logits = self._forward(ids, mask, (mask.cumsum(-1) - 1).clamp(min=0), cache, is_first_iteration=True, **tensors)
        visible = tensors.get("cross_attention_mask")
        return Batch(cache, mask, None if visible is None else visible[:, -1:], self._image_layers), logits

    def step(self, batch: Batch, tokens: Sequence[int]) -> torch.Tensor:
        """The logits that follow the newest token of each row."""
        ids = torch.tensor(tokens, device=self.device)[:, None]
        positions = batch.mask.sum(-1, keepdim=True)
        batch.mask = pad(batch.mask, [0, 1], value=1)
        visible = {} if batch.visible is None else {"cross_attention_mask": batch.visible}
        return self._forward(ids, batch.mask, positions, batch.cache, is_first_iteration=False, **visible)

    def _forward(
        self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: DynamicCache, **others: Any
    ) -> torch.Tensor:
        inputs = self._model.prepare_inputs_for_generation(
            ids,
            next_sequence_length=ids.shape[1],
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            **self._last_logits,
            **others,
        )
        logits: torch.Tensor = self._model(**inputs, return_dict=True).logits[:, -1]
        return logits

    def _collate(self, prompts: Sequence[Inputs]) -> dict[str, Any]:
        length = max(len(prompt.ids) for prompt in prompts)
        tensors: dict[str, Any] = {}
        for name, value in prompts[0].tensors.items():
            if name in _OF_TOKENS:
                rows = [_pad_tokens(prompt.tensors[name], length) for prompt in prompts]
                tensors[name] = torch.cat(rows).to(self.device)
            elif len(prompts) == 1:
                tensors[name] = _deep(value, self._place)
            else:
                tensors[name] = self._place(torch.cat([prompt.tensors[name] for prompt in prompts]))
        return tensors

    def _place(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(self.device, self._model.dtype if tensor.is_floating_point() else None)


def prefill_shape(prompt: Inputs) -> Hashable:
    """What prompts have to have in common to be computed together: the shapes of all that belongs to their images."""
    shapes: list[Hashable] = []
    for name, value in prompt.tensors.items():
        if name in _OF_TOKENS:
            # With the number of images, which the mask of mllama has for each token.
            shapes.append((name, tuple(value.shape[2:])))
        elif isinstance(value, torch.Tensor):
            shapes.append((name, tuple(value.shape), value.dtype))
        else:
            return id(prompt)
    return tuple(shapes)


def image_tensors(prompt: Inputs) -> dict[str, list[Any]]:
    """What the processor has made of the images, by the model's names for it."""
    others = {name: value for name, value in prompt.tensors.items() if name not in _OF_TOKENS}
    return {name: value if isinstance(value, list) else [value] for name, value in others.items()}


def _pad_tokens(tensor: torch.Tensor, length: int) -> torch.Tensor:
    behind = [0, 0] * (tensor.ndim - 2)
    return pad(tensor, [*behind, length - tensor.shape[1], 0])


def _deep(value: Any, place: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """`value` with every tensor placed; fuyu's processor makes lists of them."""
    if isinstance(value, torch.Tensor):
        return place(value)
    return [_deep(one, place) for one in value] if isinstance(value, list) else value
