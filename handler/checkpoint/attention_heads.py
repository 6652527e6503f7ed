"""config.json -> the attention heads of the language part, and how many GPUs can share them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from handler.checkpoint.configuration import text_config
from handler.checkpoint.memory import kv_cache


@dataclass(frozen=True, slots=True)
class AttentionHeads:
    """`of_keys` are the heads of keys and values; 1 where all heads have the same (latent attention)."""

    count: int
    of_keys: int = 1

    def are_divisible(self, degree: int) -> bool:
        """Whether vLLM can give each of `degree` GPUs its part: of the heads, and of those of keys and values or a whole one."""
        return self.count % degree == 0 and (self.of_keys % degree == 0 or degree % self.of_keys == 0)

    def largest_degree(self, gpus: int) -> int:
        """The largest number of GPUs, of `gpus`, that can share them."""
        return max(degree for degree in range(1, gpus + 1) if self.are_divisible(degree))


def attention_heads(config: Mapping[str, Any]) -> AttentionHeads | None:
    """None if the configuration does not say enough."""
    count, cache = text_config(config).get("num_attention_heads"), kv_cache(config, element_bytes=1)
    return AttentionHeads(count, cache.shards) if isinstance(count, int) and count and cache is not None else None
