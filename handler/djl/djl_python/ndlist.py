"""DJL's NDList (`tensor/ndlist`), the format in which LMI's clients and handlers exchange lists of arrays.

All numbers are big-endian. A list is its length (int32), followed by each array: "NDAR", a version (int32), a flag and an
optional name, the sparse format, the type, the shape (int32 and int64s), the layout (int32 and 16-bit characters), the
byte order of the data (one character), and the data with its length (int32). A string is its length (int16) and UTF-8.
"""

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

_MAGIC = "NDAR"
_VERSION = 3
_TYPES = frozenset(
    ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool")
)
_ALIASES = {"boolean": "bool"}


def from_nd_list(encoded: bytes | bytearray) -> list[np.ndarray[Any, Any]]:
    """The arrays in `encoded`. Raises ValueError if it is not an NDList."""
    reader = _Reader(encoded)
    return [reader.read_array() for _ in range(reader.read_number("i"))]


def to_nd_list(arrays: Any) -> bytearray:
    """One array or a list of them as an NDList."""
    items = arrays if isinstance(arrays, Sequence) and not isinstance(arrays, str) else [arrays]
    encoded = bytearray(struct.pack(">i", len(items)))
    for item in items:
        array = np.asarray(item)
        if array.dtype.name not in _TYPES:
            raise ValueError(
                f"An NDList cannot hold an array of {array.dtype}; convert it to {', '.join(sorted(_TYPES))}."
            )
        data = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False).tobytes()
        encoded += _string(_MAGIC) + struct.pack(">ib", _VERSION, 0)
        encoded += _string("default") + _string(array.dtype.name.upper())
        encoded += struct.pack(f">i{array.ndim}q", array.ndim, *array.shape)
        encoded += struct.pack(f">i{array.ndim}h", array.ndim, *[ord("?")] * array.ndim)
        encoded += b"<" + struct.pack(">i", len(data)) + data
    return encoded


def _string(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


class _Reader:
    def __init__(self, encoded: bytes | bytearray) -> None:
        self._encoded = memoryview(encoded)
        self._position = 0

    def read_array(self) -> np.ndarray[Any, Any]:
        magic, version = self.read_text(), self.read_number("i")
        if (magic, version) != (_MAGIC, _VERSION):
            raise ValueError(f"This is not an NDList of version {_VERSION}: it has {magic!r} and version {version}.")
        if self.read_number("b"):
            self.read_text()  # the array's name
        self.read_text()  # the sparse format; the data is dense in any case
        name = self.read_text().lower()
        name = _ALIASES.get(name, name)
        if name not in _TYPES:
            raise ValueError(f"The NDList has an array of the unknown type {name!r}.")
        shape = [self.read_number("q") for _ in range(self.read_number("i"))]
        self.read(2 * self.read_number("i"))  # the layout
        order = bytes(self.read(1)).decode("latin-1")
        dtype = np.dtype(name).newbyteorder(">" if order == ">" else "<")
        return np.frombuffer(self.read(self.read_number("i")), dtype).reshape(shape).copy()

    def read_text(self) -> str:
        return str(bytes(self.read(self.read_number("h"))), "utf-8")

    def read_number(self, kind: str) -> int:
        (value,) = struct.unpack(f">{kind}", self.read(struct.calcsize(f">{kind}")))
        return int(value)

    def read(self, length: int) -> memoryview:
        data = self._encoded[self._position : self._position + length]
        if length < 0 or len(data) < length:
            raise ValueError("The NDList ends in the middle of an array.")
        self._position += length
        return data
