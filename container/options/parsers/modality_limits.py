"""Text of `limit_mm_per_prompt`, in any of its three syntaxes -> ModalityLimits."""

import difflib
import re
from collections.abc import Mapping
from typing import Any

from container.options.frozen import FrozenMapping
from container.options.parsers.values import json_object

# LMI documents "1 for each modality". vLLM alone would allow 999, and reserve memory for a prompt of 999 images. Requests
# cannot have videos and audio clips: a Qwen2-VL would plan for a video of 114,000 tokens that never comes.
DEFAULT_COUNTS = {"image": 1, "video": 0, "audio": 0}
UNSUPPORTED = {"video": "videos", "audio": "audio clips"}

# Sizes of the largest item that vLLM accepts beside the count; it profiles memory with an item of this size.
_SIZES = {
    "image": ("width", "height"),
    "video": ("width", "height", "num_frames"),
    "audio": ("length",),
    "vision_chunk": (),
}
_SYNTAX = 'write {"image": 2} or image=2,video=1'
_PAIR = re.compile(r"\s*([A-Za-z_]+)\s*=\s*([+-]?\d+)\s*", re.ASCII)


class ModalityLimits(FrozenMapping[int]):
    """How many items of each modality one prompt may hold: a mapping such as {"image": 2, "video": 0, "audio": 0}.

    A modality that is not named keeps its default. `sizes` is what vLLM's rich form adds: {"image": {"width": 512}}.
    """

    def __init__(
        self, counts: Mapping[str, int] | None = None, sizes: Mapping[str, Mapping[str, int]] | None = None
    ) -> None:
        super().__init__(DEFAULT_COUNTS | dict(counts or {}))
        self.sizes: Mapping[str, Mapping[str, int]] = FrozenMapping(
            (modality, FrozenMapping(size)) for modality, size in (sizes or {}).items()
        )

    def with_image_size(self, width: int, height: int) -> "ModalityLimits":
        """These limits, with memory planned for images of this size."""
        return ModalityLimits(self, {**self.sizes, "image": {"width": width, "height": height}})

    def for_images(self) -> "ModalityLimits":
        """These limits, with none of what requests cannot have."""
        sizes = {modality: size for modality, size in self.sizes.items() if modality not in UNSUPPORTED}
        return ModalityLimits({**self, **dict.fromkeys(UNSUPPORTED, 0)}, sizes)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mapping):
            return NotImplemented
        return dict(self) == dict(other) and self.sizes == getattr(other, "sizes", {})

    def __hash__(self) -> int:
        return super().__hash__()

    def for_vllm(self) -> dict[str, int | dict[str, int]]:
        """The value of vLLM's engine argument."""
        return {
            modality: {"count": count, **self.sizes[modality]} if modality in self.sizes else count
            for modality, count in self.items()
        }


def modality_limits(value: str | Mapping[str, Any]) -> ModalityLimits:
    """`{"image": 2}`, `image=2,video=1` or vLLM's `{"image": {"count": 2, "width": 512}}`. Raises ValueError."""
    if isinstance(value, ModalityLimits):
        return value
    given = value if isinstance(value, Mapping) else _parse(value.strip())
    counts: dict[str, int] = {}
    sizes: dict[str, dict[str, int]] = {}
    for modality, limit in given.items():
        _check_modality(modality)
        rich = dict(limit) if isinstance(limit, Mapping) else {"count": limit}
        for name, number in rich.items():
            _check_number(modality, name, number)
        if "count" in rich:
            counts[modality] = rich.pop("count")
        if rich:
            sizes[modality] = rich
            counts.setdefault(modality, DEFAULT_COUNTS.get(modality, 1))
    return ModalityLimits(counts, sizes)


def _parse(text: str) -> dict[str, Any]:
    if text.startswith("{"):
        return json_object(text)
    pairs = [_PAIR.fullmatch(pair) for pair in text.strip(",").split(",")]
    limits = {pair[1]: int(pair[2]) for pair in pairs if pair}
    if None in pairs:
        raise ValueError(f"is not a list of limits; {_SYNTAX}")
    if len(limits) < len(pairs):
        raise ValueError("has a modality twice; give it once")
    return limits


def _check_modality(modality: str) -> None:
    if modality in _SIZES:
        return
    near = difflib.get_close_matches(modality.lower(), _SIZES, n=1)
    cure = f"did you mean {near[0]!r}?" if near else f"the modalities are {', '.join(_SIZES)}"
    raise ValueError(f"has the unknown modality {modality!r}; {cure}")


def _check_number(modality: str, name: str, number: object) -> None:
    if name != "count" and name not in _SIZES[modality]:
        known = ", ".join(("count", *_SIZES[modality]))
        raise ValueError(f"has the unknown field {name!r} for {modality!r}; the fields are {known}")
    minimum = 0 if name == "count" else 1
    if not isinstance(number, int) or isinstance(number, bool) or number < minimum:
        what = f"the limit of {modality!r}" if name == "count" else f"{name!r} of {modality!r}"
        raise ValueError(f"has {number!r} as {what}, which must be a whole number of {minimum} or more; {_SYNTAX}")
