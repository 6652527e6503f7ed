"""The headers of safetensors files -> the tensors in them. A few kilobytes of each file are read, never the weights."""

import json
import math
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from handler.checkpoint.files import ModelFiles, read_json
from handler.checkpoint.weight_files import INDEX
from handler.errors import StartError

_LENGTH_BYTES = 8
_FIRST_BYTES = 256 * 2**10  # one read suffices for most headers
_MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors library
_THREADS = 8  # the files of a large model are on a network
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "F64": 64, "I64": 64, "U64": 64,
    "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tensor:
    """`dtype` is the name that safetensors has for it, `file` where it is."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int
    file: str

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


def read_tensors(files: ModelFiles, weights: Collection[str]) -> tuple[Tensor, ...]:
    """The tensors of the safetensors files among `weights`. Raises StartError where a file is broken, or one is missing."""
    sizes = files.sizes()
    indexed = any(path.endswith(".safetensors") and not path.startswith("consolidated") for path in weights)
    named = _index(files) if indexed else {}
    missing = sorted(set(named.values()) - sizes.keys())
    if missing:
        raise StartError(
            f"{INDEX} of {files.name} names {', '.join(missing[:3])}, which {_be(missing)} not there; upload the missing "
            f"file{'s' if len(missing) > 1 else ''}."
        )
    paths = sorted(path for path in weights if path.endswith(".safetensors"))
    with ThreadPoolExecutor(_THREADS) as pool:
        headers = list(pool.map(lambda path: _read_header(files, path, sizes[path]), paths))
    found = tuple(tensor for header in headers for tensor in header)
    _check_index(files.name, named, found)
    return found


def _be(names: Collection[str]) -> str:
    return "are" if len(names) > 1 else "is"


def _index(files: ModelFiles) -> Mapping[str, str]:
    """The file of each tensor; nothing without an index."""
    named = read_json(files, INDEX).get("weight_map", {})
    if not isinstance(named, dict) or not all(isinstance(path, str) for path in named.values()):
        raise StartError(f"{INDEX} of {files.name} has no `weight_map` of names to files; upload it again.")
    return named


def _check_index(model: str, named: Mapping[str, str], found: Iterable[Tensor]) -> None:
    there = {tensor.name: tensor.file for tensor in found}
    for name, path in named.items():
        if name not in there:
            raise StartError(
                f"{INDEX} of {model} says that the tensor {name} is in {path}, but it is not; upload both files of the same "
                "revision."
            )


def _read_header(files: ModelFiles, path: str, size: int) -> list[Tensor]:
    begin = files.read(path, 0, min(size, _FIRST_BYTES))
    where = f"{path} of {files.name}"
    length = int.from_bytes(begin[:_LENGTH_BYTES], "little")
    end = _LENGTH_BYTES + length
    if len(begin) < _LENGTH_BYTES or not 1 < length <= _MAX_HEADER_BYTES:
        raise StartError(
            f"{where} is not a safetensors file: it has {size} bytes, and its first eight are no length of a header. Upload "
            "it again; a file that Git LFS has not downloaded is a common cause."
        )
    if end > size:
        raise StartError(f"{where} is truncated: its header alone has {end} bytes, the file {size}. Upload it again.")
    if end > len(begin):
        begin += files.read(path, len(begin), end - len(begin))
    try:
        header = json.loads(begin[_LENGTH_BYTES:end])
        tensors = [_tensor(name, entry, path) for name, entry in header.items() if name != "__metadata__"]
        stored = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as fault:
        raise StartError(f"{where} has a broken header ({fault}); upload it again.") from fault
    if end + stored > size:
        raise StartError(
            f"{where} is truncated: its header promises {end + stored} bytes and it has {size}. Upload it again."
        )
    return tensors


def _tensor(name: str, entry: Mapping[str, Any], path: str) -> Tensor:
    """Raises ValueError, TypeError or KeyError where the entry contradicts itself."""
    first, last = entry["data_offsets"]
    tensor = Tensor(name, entry["dtype"], tuple(int(size) for size in entry["shape"]), last - first, path)
    bits = _BITS.get(tensor.dtype)
    if (
        first < 0
        or any(size < 0 for size in tensor.shape)
        or (bits and tensor.bytes != -(-tensor.elements * bits // 8))
    ):
        raise ValueError(f"the tensor {name} has {tensor.bytes} bytes for {tensor.dtype} {list(tensor.shape)}")
    return tensor
