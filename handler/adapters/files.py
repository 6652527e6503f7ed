"""The files of a LoRA adapter, as PEFT writes them -> what it changes and how; no weight is read.

An engine that is handed an adapter which does not fit may die of it, or answer wrongly in silence. All that can be known
from the files is therefore checked before.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handler.errors import InvalidRequest

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
MOST_CONFIG_BYTES = 2**20
SHOWN = 80  # characters of a name that a sentence quotes
MOST_HEADER_BYTES = 100_000_000  # as the safetensors library has it
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM has kernels for, and `max_lora_rank` may be
_OLD_WEIGHTS = ("adapter_model.bin", "adapter_model.pt")
_PREFIX = "base_model.model."
_A, _B = ".lora_A.weight", ".lora_B.weight"
_EMBEDDING = (".lora_embedding_A", ".lora_embedding_B")
_TYPES = ("F16", "BF16", "F32", "F64")
# Variants of PEFT that change more than a low rank tells, and that vLLM does not have: the values that mean none.
_PLAIN: Mapping[str, tuple[Any, ...]] = {
    "use_dora": (None, False),
    "lora_bias": (None, False),
    "bias": (None, "none"),
    "modules_to_save": (None, []),
    "layer_replication": (None, []),
    "use_qalora": (None, False),
    "use_bdlora": (None, False, {}),
    "alora_invocation_tokens": (None, []),
}


@dataclass(frozen=True, slots=True)
class Change:
    """What is added to a layer of `inputs` and `outputs`: a product of matrices of that rank."""

    inputs: int
    outputs: int
    rank: int


@dataclass(frozen=True, slots=True)
class AdapterFiles:
    """An adapter: its largest rank, its changes by the names that layers have in PEFT, and the model that it says it
    was trained for."""

    rank: int
    changes: Mapping[str, Change]
    base: str | None


def rank_to_allow(rank: int) -> str:
    """The cure for an adapter whose rank is larger than `max_lora_rank`."""
    enough = next((known for known in RANKS if known >= rank), None)
    return f"start with OPTION_MAX_LORA_RANK={enough}" if enough else f"vLLM serves {RANKS[-1]} at most"


def inspected(directory: Path) -> AdapterFiles:
    """The adapter in `directory`. Raises InvalidRequest with what is wrong with its files."""
    config = _config(directory)
    rank = _rank(config)
    changes = _changes(_shapes(directory))
    largest = max(change.rank for change in changes.values())
    if largest > rank:
        raise _unfit(f"a layer has the rank {largest}, and its {CONFIG} says {rank}")
    base = config.get("base_model_name_or_path")
    return AdapterFiles(rank, changes, base if isinstance(base, str) and base else None)


def _unfit(what: str) -> InvalidRequest:
    return InvalidRequest(f"The adapter cannot be served: {what}.", param="src", code="adapter_invalid")


def _config(directory: Path) -> dict[str, Any]:
    path = directory / CONFIG
    try:
        if path.stat().st_size > MOST_CONFIG_BYTES:
            raise _unfit(f"its {CONFIG} has more than {MOST_CONFIG_BYTES} bytes")
        config = json.loads(path.read_bytes())
    except OSError as fault:
        raise _unfit(f"there is no {CONFIG}, which PEFT writes beside the weights ({fault.strerror})") from fault
    except (ValueError, RecursionError) as fault:
        raise _unfit(f"its {CONFIG} is no JSON: {fault}") from fault
    if not isinstance(config, dict):
        raise _unfit(f"its {CONFIG} holds no object")
    if (kind := config.get("peft_type", "LORA")) != "LORA":
        raise _unfit(f"its peft_type is {str(kind)[:SHOWN]}, and LORA alone is served")
    for name, plain in _PLAIN.items():
        if config.get(name) not in plain:
            raise _unfit(f"it has `{name}`, which vLLM does not serve; train or convert it without")
    return config


def _rank(config: Mapping[str, Any]) -> int:
    pattern = config.get("rank_pattern") or {}
    ranks = [config.get("r"), *(pattern.values() if isinstance(pattern, dict) else (None,))]
    for rank in ranks:
        if type(rank) is not int or rank < 1:
            raise _unfit(f"its rank `r` must be a whole number of 1 or more in {CONFIG}, and is {str(rank)[:SHOWN]}")
    alpha = config.get("lora_alpha")
    if isinstance(alpha, bool) or not isinstance(alpha, int | float):
        raise _unfit(f"its `lora_alpha` must be a number in {CONFIG}, and is {str(alpha)[:SHOWN]}")
    largest: int = max(rank for rank in ranks if rank is not None)
    return largest


def _shapes(directory: Path) -> Mapping[str, tuple[int, ...]]:
    """The shape of each tensor."""
    path = directory / WEIGHTS
    if not path.is_file():
        old = next((name for name in _OLD_WEIGHTS if (directory / name).is_file()), None)
        why = f"{old} is a pickle; save it with safetensors" if old else f"there is no {WEIGHTS}"
        raise _unfit(why)
    try:
        return dict(_tensors(path))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as fault:
        raise _unfit(f"its {WEIGHTS} is damaged: {str(fault)[:SHOWN]}") from fault


def shapes_in(path: Path) -> Mapping[str, tuple[int, ...]]:
    """The shape of each tensor of any safetensors file. Raises OSError, or ValueError and its like if it is damaged."""
    return {name: tuple(entry["shape"]) for name, entry in _header(path)[0].items()}


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The entries of the tensors, and the bytes that their data has."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > MOST_HEADER_BYTES:
            raise ValueError("it does not begin as safetensors do")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return header, path.stat().st_size - 8 - length


def _tensors(path: Path) -> Mapping[str, tuple[int, ...]]:
    header, data = _header(path)
    if not header:
        raise ValueError("it holds no tensor")
    if (end := max(entry["data_offsets"][1] for entry in header.values())) != data:
        raise ValueError(f"its tensors need {end} bytes and it has {data}")
    for name, entry in header.items():
        if entry["dtype"] not in _TYPES:
            raise ValueError(f"{name} is of the type {entry['dtype']}")
    return {name: tuple(entry["shape"]) for name, entry in header.items()}


def _changes(shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, Change]:
    changes = {}
    for name, shape in shapes.items():
        if name.endswith(_B) or name.endswith(_EMBEDDING):
            continue
        if not name.endswith(_A):
            raise _unfit(f"{name[:SHOWN]} is no part of a LoRA adapter that vLLM serves")
        layer = name.removesuffix(_A)
        other = shapes.get(layer + _B)
        if other is None or len(shape) != 2 or len(other) != 2 or shape[0] != other[1]:
            raise _unfit(f"the matrices A and B of {layer[:SHOWN]} do not go together: {shape} and {other}")
        changes[layer.removeprefix(_PREFIX)] = Change(inputs=shape[1], outputs=other[0], rank=shape[0])
    if lonely := [name for name in shapes if name.endswith(_B) and name.removesuffix(_B) + _A not in shapes]:
        raise _unfit(f"{lonely[0][:SHOWN]} has no matrix A")
    if not changes:
        raise _unfit("it changes no layer")
    return changes
