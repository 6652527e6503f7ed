"""config.json -> the sizes that tensor parallelism divides, and by how many GPUs they can be divided."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from handler.checkpoint.configuration import text_config, vision_config
from handler.checkpoint.memory import kv_cache

_VOCABULARY_PADDING = 64  # vLLM pads the vocabulary to a multiple of it
# Towers whose heads vLLM pads or does not divide (intern_vit.py, 0.32).
_UNDIVIDED_TOWERS = ("intern",)


@dataclass(frozen=True, slots=True)
class DivisibleSizes:
    """`heads` are those of attention, `key_heads` those of keys and values; 1 where all heads have the same (latent attention).
    `others` are divided too: the width of the MLP, the vocabulary, the heads of the vision tower."""

    heads: int
    key_heads: int = 1
    others: tuple[int, ...] = ()

    def are_divisible(self, degree: int) -> bool:
        """Whether vLLM can give each of `degree` GPUs its part, or a whole head of keys and values."""
        keys = self.key_heads % degree == 0 or degree % self.key_heads == 0
        return keys and not any(size % degree for size in (self.heads, *self.others))

    def largest_degree(self, gpus: int) -> int:
        """The largest number of GPUs, of `gpus`, that can share them."""
        return max(degree for degree in range(1, gpus + 1) if self.are_divisible(degree))


def divisible_sizes(config: Mapping[str, Any]) -> DivisibleSizes | None:
    """None if the configuration does not say enough."""
    text, cache = text_config(config), kv_cache(config, element_bytes=1)
    heads = text.get("num_attention_heads")
    if not isinstance(heads, int) or not heads or cache is None:
        return None
    vision = vision_config(config)
    vocabulary = text.get("vocab_size", 0)
    others = [
        text.get("intermediate_size"),
        -(-vocabulary // _VOCABULARY_PADDING) * _VOCABULARY_PADDING if isinstance(vocabulary, int) else None,
    ]
    if not any(name in str(vision.get("model_type", "")) for name in _UNDIVIDED_TOWERS):
        others += [vision.get("num_heads"), vision.get("num_attention_heads")]
    return DivisibleSizes(heads, cache.shards, tuple(size for size in others if isinstance(size, int)))
