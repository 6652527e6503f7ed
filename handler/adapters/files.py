"""The files of a LoRA adapter, as PEFT writes them -> which layers it changes, and the sizes of the changes. Only headers are read.

An engine that gets an adapter which does not fit may crash, or answer wrongly without an error. So everything that the files
tell is checked before.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from handler.errors import InvalidRequest

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
MAX_CONFIG_BYTES = 2**20
MAX_QUOTED_CHARS = 80  # of a name, in an error
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # the values of `max_lora_rank` that vLLM has kernels for
_OLD_WEIGHTS = ("adapter_model.bin", "adapter_model.pt")
_PREFIX = "base_model.model."
_A, _B = ".lora_A.weight", ".lora_B.weight"
_EMBEDDING = (".lora_embedding_A", ".lora_embedding_B")
_DTYPES = ("F16", "BF16", "F32", "F64")
# Variants of LoRA that vLLM does not support, with the values that mean "not used".
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
class Tensor:
    """What a safetensors header says of a tensor; `dtype` is safetensors' name, such as BF16."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class Change:
    """What an adapter adds to a layer with `inputs` and `outputs`: the product of two matrices of that rank."""

    inputs: int
    outputs: int
    rank: int


@dataclass(frozen=True, slots=True)
class AdapterFiles:
    """An adapter: its largest rank, its changes by PEFT's names of the layers, and the base model that its config names."""

    rank: int
    changes: Mapping[str, Change]
    base: str | None


def rank_to_allow(rank: int) -> str:
    """What to do about an adapter whose rank is larger than `max_lora_rank`."""
    enough = next((known for known in RANKS if known >= rank), None)
    return f"start with OPTION_MAX_LORA_RANK={enough}" if enough else f"vLLM supports ranks up to {RANKS[-1]}"


def read_adapter_files(directory: Path) -> AdapterFiles:
    """The adapter in `directory`. Raises InvalidRequest with what is wrong with its files."""
    config = _config(directory)
    rank = _rank(config)
    changes = _changes(_shapes(directory))
    largest = max(change.rank for change in changes.values())
    if largest > rank:
        raise _unfit(f"a layer has the rank {largest}, but its {CONFIG} says {rank}")
    base = config.get("base_model_name_or_path")
    return AdapterFiles(rank, changes, base if isinstance(base, str) and base else None)


def _unfit(what: str) -> InvalidRequest:
    return InvalidRequest(f"The adapter cannot be served: {what}.", param="src", code="adapter_invalid")


def _config(directory: Path) -> dict[str, Any]:
    path = directory / CONFIG
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise _unfit(f"its {CONFIG} has more than {MAX_CONFIG_BYTES} bytes")
        config = json.loads(path.read_bytes())
    except OSError as error:
        raise _unfit(f"there is no {CONFIG}, which PEFT writes next to the weights ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise _unfit(f"its {CONFIG} is not valid JSON: {error}") from error
    if not isinstance(config, dict):
        raise _unfit(f"its {CONFIG} is not a JSON object")
    if (kind := config.get("peft_type", "LORA")) != "LORA":
        raise _unfit(f"its peft_type is {str(kind)[:MAX_QUOTED_CHARS]}, but only LORA is supported")
    for name, plain in _PLAIN.items():
        if config.get(name) not in plain:
            raise _unfit(f"it has `{name}`, which vLLM does not support; train or convert it without")
    return config


def _rank(config: Mapping[str, Any]) -> int:
    pattern = config.get("rank_pattern") or {}
    ranks = [config.get("r"), *(pattern.values() if isinstance(pattern, dict) else (None,))]
    for rank in ranks:
        if type(rank) is not int or rank < 1:
            raise _unfit(
                f"its rank `r` must be a whole number of 1 or more in {CONFIG}, but is {str(rank)[:MAX_QUOTED_CHARS]}"
            )
    alpha = config.get("lora_alpha")
    if isinstance(alpha, bool) or not isinstance(alpha, int | float):
        raise _unfit(f"its `lora_alpha` must be a number in {CONFIG}, but is {str(alpha)[:MAX_QUOTED_CHARS]}")
    largest: int = max(rank for rank in ranks if rank is not None)
    return largest


def _shapes(directory: Path) -> Mapping[str, tuple[int, ...]]:
    """The shape of each tensor of the adapter."""
    path = directory / WEIGHTS
    if not path.is_file():
        old = next((name for name in _OLD_WEIGHTS if (directory / name).is_file()), None)
        raise _unfit(f"{old} is a pickle; save it with safetensors" if old else f"there is no {WEIGHTS}")
    try:
        tensors = read_tensors(path)
    except (OSError, SafetensorError) as error:
        raise _unfit(f"its {WEIGHTS} is damaged: {str(error)[:MAX_QUOTED_CHARS]}") from error
    for name, tensor in tensors.items():
        if tensor.dtype not in _DTYPES:
            raise _unfit(f"{name[:MAX_QUOTED_CHARS]} in its {WEIGHTS} has the dtype {tensor.dtype}")
    return {name: tensor.shape for name, tensor in tensors.items()}


def read_tensors(path: Path) -> Mapping[str, Tensor]:
    """The tensors of a safetensors file, from its header. Raises OSError, or SafetensorError if it is damaged."""
    with safe_open(path, framework="numpy") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  # it is not iterable
        return {name: Tensor(tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}


def _changes(shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, Change]:
    changes = {}
    for name, shape in shapes.items():
        if name.endswith(_B) or name.endswith(_EMBEDDING):
            continue
        if not name.endswith(_A):
            raise _unfit(f"{name[:MAX_QUOTED_CHARS]} is not part of a LoRA adapter that vLLM supports")
        layer = name.removesuffix(_A)
        other = shapes.get(layer + _B)
        if other is None or len(shape) != 2 or len(other) != 2 or shape[0] != other[1]:
            raise _unfit(f"the matrices A and B of {layer[:MAX_QUOTED_CHARS]} do not match: {shape} and {other}")
        changes[layer.removeprefix(_PREFIX)] = Change(inputs=shape[1], outputs=other[0], rank=shape[0])
    if unpaired := [name for name in shapes if name.endswith(_B) and name.removesuffix(_B) + _A not in shapes]:
        raise _unfit(f"{unpaired[0][:MAX_QUOTED_CHARS]} has no matrix A")
    if not changes:
        raise _unfit("it changes no layer")
    return changes
