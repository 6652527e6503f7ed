"""An inspected model and the options -> its Demand."""

from collections.abc import Mapping
from typing import Any

from container.inspection.fit import UTILISATION, Demand
from container.options import Options
from handler.checkpoint.configuration import text_config, vision_config
from handler.checkpoint.divisible_sizes import DivisibleSizes, divisible_sizes
from handler.checkpoint.memory import TYPE_BYTES, KvCache
from handler.checkpoint.parts import LANGUAGE, Part

_FLOATS = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2}
# How many bytes each parameter takes that was stored whole, if vLLM quantises while it loads.
_WHILE_LOADING = {"fp8": 1.0, "fp8_per_tensor": 1.0, "fp8_per_block": 1.0, "int8_per_channel": 1.0}
_BATCH_SIZE = 256  # vLLM's default for max_num_seqs on GPUs of less than 70 GiB, where memory is scarce
_BATCHED_TOKENS = 8192  # vLLM's default on GPUs for max_num_batched_tokens in a server
_LIVE_WIDTHS = 6  # activations of a layer that live at once, in widths of the model


def element_bytes(options: Options) -> int:
    """The size of a number in which the model computes: without the option vLLM takes 16 bits for every kind of floats."""
    return TYPE_BYTES.get(options.dtype, 2)


def loaded_bytes(part: Part, element: int) -> int:
    """What a part takes once it is loaded: floats become the type of the computation, other types stay."""
    return sum(
        size // _FLOATS[kind] * element if kind in _FLOATS else size for kind, size in part.bytes_by_type.items()
    )


def demand(
    config: Mapping[str, Any],
    options: Options,
    parts: tuple[Part, ...],
    *,
    kv: KvCache | None,
    max_tokens: int,
    image_tokens: int | None,
) -> Demand:
    """`max_tokens` is the length of the longest request, `image_tokens` of the largest image, if it is known."""
    element = element_bytes(options)
    text = text_config(config)
    sizes = {part.name: loaded_bytes(part, element) for part in parts}
    language = sizes.pop(LANGUAGE, 0)
    quantised = bool(config.get("quantization_config"))
    if not quantised and options.quantize in _WHILE_LOADING:
        language = int(language / element * _WHILE_LOADING[options.quantize])
    degree = options.tensor_parallel_degree
    return Demand(
        language_bytes=language,
        other_bytes=sum(sizes.values()),
        working_bytes=_working_bytes(text, vision_config(config), options, element, image_tokens),
        kv=kv,
        max_tokens=max_tokens,
        tensor_parallel=None if degree == "max" else int(degree),
        sizes=divisible_sizes(config) or DivisibleSizes(0),  # of which every degree is a divisor
        utilisation=options.gpu_memory_utilization or UTILISATION,
        is_quantised=quantised or options.quantize is not None,
    )


def encoder_bytes(vision: Mapping[str, Any], text: Mapping[str, Any], image_tokens: int, element: int) -> int:
    """What the largest image takes: its embeddings in the encoder's cache, and the activations of a layer of the tower."""
    width = _size(vision, "hidden_size") or _size(vision, "embed_dim")
    merged = (_size(vision, "spatial_merge_size") or 1) ** 2
    activations = image_tokens * merged * ((_size(vision, "intermediate_size") or 4 * width) + _LIVE_WIDTHS * width)
    return (image_tokens * _size(text, "hidden_size") + activations) * element


def _working_bytes(
    text: Mapping[str, Any], vision: Mapping[str, Any], options: Options, element: int, image_tokens: int | None
) -> int:
    hidden, inner = _size(text, "hidden_size"), _size(text, "intermediate_size")
    tokens = options.max_rolling_batch_prefill_tokens or _BATCHED_TOKENS
    activations = tokens * (_LIVE_WIDTHS * hidden + 2 * inner) * element
    sampler = 2 * (options.max_rolling_batch_size or _BATCH_SIZE) * _size(text, "vocab_size") * TYPE_BYTES["float32"]
    return activations + sampler + (encoder_bytes(vision, text, image_tokens, element) if image_tokens else 0)


def _size(config: Mapping[str, Any], name: str) -> int:
    """The field as a number, the largest where it has one for each layer; 0 if there is none."""
    value = config.get(name)
    sizes = value if isinstance(value, list) else [value]
    return max((size for size in sizes if isinstance(size, int)), default=0)
