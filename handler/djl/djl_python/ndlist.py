"""DJL's NDList (`tensor/ndlist`), the bytes in which LMI's clients and handlers exchange lists of arrays.

All numbers are big-endian. A list is its length (int32), then of each array: "NDAR", a version (int32), a flag and maybe a
name, the sparse format, the type, the shape (int32 and int64s), the layout (int32 and 16-bit characters), the byte order
of the data (one character), and the data with its length (int32). A string is its length (int16) and UTF-8.
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
_NAMES = {"boolean": "bool"}


def from_nd_list(encoded: bytes | bytearray) -> list[np.ndarray[Any, Any]]:
    """The arrays. Raises ValueError where the bytes are no NDList."""
    reader = _Reader(encoded)
    return [reader.array() for _ in range(reader.number("i"))]


def to_nd_list(arrays: Any) -> bytearray:
    """One array or a list of them as an NDList."""
    listed = arrays if isinstance(arrays, Sequence) and not isinstance(arrays, str) else [arrays]
    encoded = bytearray(struct.pack(">i", len(listed)))
    for item in listed:
        array = np.asarray(item)
        if array.dtype.name not in _TYPES:
            raise ValueError(
                f"An NDList cannot hold an array of {array.dtype}; convert it to {', '.join(sorted(_TYPES))}."
            )
        data = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False).tobytes()
        encoded += _text(_MAGIC) + struct.pack(">ib", _VERSION, 0) + _text("default") + _text(array.dtype.name.upper())
        encoded += struct.pack(f">i{array.ndim}q", array.ndim, *array.shape)
        encoded += struct.pack(f">i{array.ndim}h", array.ndim, *[ord("?")] * array.ndim)
        encoded += b"<" + struct.pack(">i", len(data)) + data
    return encoded


def _text(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


class _Reader:
    def __init__(self, encoded: bytes | bytearray) -> None:
        self._encoded = memoryview(encoded)
        self._at = 0

    def array(self) -> np.ndarray[Any, Any]:
        magic, version = self.text(), self.number("i")
        if (magic, version) != (_MAGIC, _VERSION):
            raise ValueError(f"This is no NDList of version {_VERSION}: {magic!r}, version {version}.")
        if self.number("b"):
            self.text()  # the array's name
        self.text()  # dense, whatever it says
        name = self.text().lower()
        name = _NAMES.get(name, name)
        if name not in _TYPES:
            raise ValueError(f"An NDList holds an array of the unknown type {name!r}.")
        shape = [self.number("q") for _ in range(self.number("i"))]
        self.take(2 * self.number("i"))  # the layout
        order = bytes(self.take(1)).decode("latin-1")
        dtype = np.dtype(name).newbyteorder(">" if order == ">" else "<")
        return np.frombuffer(self.take(self.number("i")), dtype).reshape(shape).copy()

    def text(self) -> str:
        return str(bytes(self.take(self.number("h"))), "utf-8")

    def number(self, kind: str) -> int:
        (value,) = struct.unpack(f">{kind}", self.take(struct.calcsize(f">{kind}")))
        return int(value)

    def take(self, length: int) -> memoryview:
        taken = self._encoded[self._at : self._at + length]
        if length < 0 or len(taken) < length:
            raise ValueError("The NDList ends in the middle of an array.")
        self._at += length
        return taken
