"""A configuration -> what its KV cache takes: bytes for each token, and how many tokens a layer keeps."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handler.checkpoint.configuration import text_config

TYPE_BYTES = {
    "float64": 8, "float32": 4, "float": 4, "float16": 2, "half": 2, "bfloat16": 2, "fp8": 1, "fp8_e4m3": 1,
    "fp8_e5m2": 1, "int8": 1,
}  # fmt: skip
_LENGTHS = (
    "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length", "max_sequence_length",
    "max_seq_length", "seq_len",
)  # fmt: skip
# Types whose max_position_embeddings has the factor in it already.
_SCALED = ("su", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling", "mrope", "default")
_PATTERNS = {
    "gemma2": 2,
    "gemma3_text": 6,
    "cohere2": 4,
}  # every so many layers one keeps all tokens, if nothing is said
_KEEPS_NO_TOKENS = ("linear_attention", "mamba", "conv", "recurrent")


@dataclass(frozen=True, slots=True)
class KvCache:
    """`full_bytes` are for each token in the layers that keep all tokens, `window_bytes` in those that keep the last
    `window`. All are for one copy of the heads, of every GPU together; what tensor parallelism makes of them is in
    `shards`: it divides them by at most that."""

    full_bytes: int
    window_bytes: int
    window: int
    shards: int

    def bytes_of(self, tokens: int) -> int:
        """What one request of so many tokens takes."""
        return self.full_bytes * tokens + self.window_bytes * min(tokens, self.window)

    @property
    def token_bytes(self) -> int:
        """What a token takes while every layer keeps it."""
        return self.full_bytes + self.window_bytes


def kv_cache(config: Mapping[str, Any], element_bytes: int) -> KvCache | None:
    """None if the configuration does not say enough. `element_bytes` is the size of a cached number."""
    text = text_config(config)
    layers, heads = text.get("num_hidden_layers"), text.get("num_attention_heads")
    if not isinstance(layers, int) or not isinstance(heads, int) or not heads:
        return None
    shards, width = _width(text, heads)
    if width is None:
        return None
    window = text.get("sliding_window") or text.get("attention_chunk_size") or 0
    full, sliding = _layers(text, layers, has_window=bool(window))
    layer_bytes = width * element_bytes
    return KvCache(full * layer_bytes, sliding * layer_bytes, int(window), shards)


def context_length(config: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> int | None:
    """The tokens that the model was made for, as vLLM derives them; None if the configuration does not say it. `tokenizer` is
    its tokenizer_config.json."""
    text = text_config(config)
    found = [text[name] for name in _LENGTHS if isinstance(text.get(name), int)]
    if not found:
        return None
    limit = tokenizer.get("model_max_length")
    length = min(*found, limit) if isinstance(limit, int | float) else min(found)
    rope = text.get("rope_scaling") or text.get("rope_parameters") or {}
    kind = str(rope.get("rope_type", rope.get("type", "default")))
    if kind == "longrope":
        return int(text.get("original_max_position_embeddings") or length)
    is_scaled = kind in _SCALED or "gemma3" in str(text.get("model_type"))
    return int(length * (1.0 if is_scaled else float(rope.get("factor") or 1.0)))


def _width(text: Mapping[str, Any], heads: int) -> tuple[int, int | None]:
    """Into how many shares the cache can be divided, and how many numbers a token has in one layer."""
    if isinstance(text.get("kv_lora_rank"), int) and text["kv_lora_rank"] > 0:  # latent attention: one vector, no heads
        return 1, text["kv_lora_rank"] + int(text.get("qk_rope_head_dim") or 0)
    kv_heads = text.get("num_key_value_heads") or (
        text.get("multi_query_group_num") if text.get("multi_query_attention") else heads
    )
    hidden = text.get("hidden_size")
    head = text.get("head_dim") or (hidden // heads if isinstance(hidden, int) else None)
    if not isinstance(kv_heads, int) or not isinstance(head, int):
        return 1, None
    return kv_heads, 2 * kv_heads * head


def _layers(text: Mapping[str, Any], layers: int, *, has_window: bool) -> tuple[int, int]:
    """How many layers keep every token, and how many those of a window."""
    kinds: Sequence[str] = text.get("layer_types") or ()
    if kinds:
        sliding = sum("sliding" in kind or "chunked" in kind for kind in kinds) if has_window else 0
        return sum(kind not in _KEEPS_NO_TOKENS for kind in kinds) - sliding, sliding
    if not has_window or text.get("use_sliding_window") is False:
        return layers, 0
    pattern = text.get("sliding_window_pattern") or _PATTERNS.get(str(text.get("model_type")))
    if isinstance(pattern, int) and pattern > 1:  # every so many layers one keeps all
        full = layers // pattern
        return full, layers - full
    interval = text.get("full_attention_interval")
    return (math.ceil(layers / interval), 0) if isinstance(interval, int) and interval else (0, layers)
