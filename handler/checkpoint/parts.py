"""The tensors of a model -> its parts: how many parameters and bytes each has, and of which types."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handler.checkpoint.tensors import Tensor

LANGUAGE, VISION, AUDIO, PROJECTOR = "language model", "vision tower", "audio tower", "projector"
# In this order: a projector is often below the tower's name, and a tower below the model's.
_NAMES = (
    (
        PROJECTOR,
        re.compile(r"projector|connector|merger|resampler|aligner|mlp1\.|vision_embed_tokens\.img_proj|embed_vision"),
    ),
    (AUDIO, re.compile(r"audio|speech|whisper")),
    (VISION, re.compile(r"vis(ion|ual)|vpm\.|vit\b|image|img|sam_model|vqmodel|patch_embed")),
)
# Of quantised weights: how many elements a stored one holds, by its name and type; scales and the like are no parameters.
_SCALES = re.compile(
    r"(scales?|scale_inv|qzeros|zero_point|g_idx|absmax|quant_map|nested_\w+|bitsandbytes__\w+|weight_shape)$"
)
_PACKED_BITS = {"I32": 32, "U8": 8, "I8": 8, "U32": 32}


@dataclass(frozen=True, slots=True)
class Part:
    """`bytes` by safetensors' name of the type; `parameters` counts those that are packed into one element."""

    name: str
    parameters: int
    bytes_by_type: Mapping[str, int]

    @property
    def bytes(self) -> int:
        return sum(self.bytes_by_type.values())


def parts(config: Mapping[str, Any], tensors: Sequence[Tensor]) -> tuple[Part, ...]:
    """The parts that there are, the language model first."""
    parameters: Counter[str] = Counter()
    sizes: dict[str, Counter[str]] = {}
    for tensor in tensors:
        name = next((name for name, pattern in _NAMES if pattern.search(tensor.name)), LANGUAGE)
        parameters[name] += _parameters(tensor, _bits(config))
        sizes.setdefault(name, Counter())[tensor.dtype] += tensor.bytes
    order = (LANGUAGE, VISION, AUDIO, PROJECTOR)
    return tuple(Part(name, parameters[name], dict(sizes[name])) for name in order if name in sizes)


def _bits(config: Mapping[str, Any]) -> int | None:
    """The width of quantised weights, as far as config.json says it."""
    scheme = config.get("quantization_config") or {}
    for name in ("bits", "w_bit", "weight_bits"):
        if isinstance(scheme.get(name), int):
            return int(scheme[name])
    if scheme.get("load_in_4bit"):
        return 4
    groups = scheme.get("config_groups") or {}
    widths = [((group or {}).get("weights") or {}).get("num_bits") for group in groups.values()]
    return next((width for width in widths if isinstance(width, int)), None)


def _parameters(tensor: Tensor, bits: int | None) -> int:
    if _SCALES.search(tensor.name):
        return 0
    packed = _PACKED_BITS.get(tensor.dtype)
    if packed is None or bits is None or bits >= packed:
        return tensor.elements
    return tensor.elements * packed // bits
