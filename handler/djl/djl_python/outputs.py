"""The response of a handler: a status code, properties that become headers, and content."""

import datetime as dt
import io
import json
import struct
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from .inputs import DATA
from .pair_list import PairList
from .properties import Properties

JSON, TEXT, BYTES, NDLIST, NPZ = (
    "application/json",
    "text/plain; charset=utf-8",
    "application/octet-stream",
    "tensor/ndlist",
    "tensor/npz",
)
JSON_LINES = "application/jsonlines"


def outputs_line(item: Any) -> str:
    """One line of a stream, as LMI writes it."""
    return json.dumps({"outputs": item}, ensure_ascii=False, allow_nan=False, default=to_json_type) + "\n"


def to_json_type(value: Any) -> Any:
    """`value` as a type that JSON has: text for times, numbers and lists for numpy's and torch's numbers and arrays."""
    if isinstance(value, dt.datetime | dt.date):
        return str(value)
    if hasattr(value, "model_dump"):
        return value.model_dump()
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not JSON serializable")


class Frame(bytes):
    """The result of `Output.binary_encode`. `fields` are data, last, error and code, as in LMI's async handlers."""

    fields: Mapping[str, Any]


class Output:
    """Methods return the Output if those of LMI do, so that calls can be chained."""

    def __init__(self, code: int = 200, message: str = "OK") -> None:
        self.code = code
        self.message = message
        self.properties: Properties = Properties()
        self.content = PairList()
        self.stream_content: Any = None
        self.stream_formatter: Callable[[Any], Any] | None = None
        self.implied_type: str | None = None  # the content type of what was added first, if no property sets it
        self._finalizer: tuple[Callable[..., Any], tuple[Any, ...]] | None = None

    def set_code(self, code: int) -> "Output":
        self.code = code
        return self

    def set_message(self, message: str) -> "Output":
        self.message = message
        return self

    def error(self, error: str, code: int = 424, message: str = "invoke handler failure") -> "Output":
        """Respond with `code` and a JSON object of all three."""
        self.set_code(code).set_message(message).add_property("Content-Type", JSON)
        self.content = PairList()
        return self.add_as_json({"code": code, "message": message, "error": error})

    def add_property(self, key: str, val: Any) -> "Output":
        self.properties[key] = val
        return self

    def get_properties(self) -> Properties:
        return self.properties

    def get_property(self, key: str) -> Any:
        return self.properties.get(key)

    def add(self, value: Any, key: str | None = None, batch_index: int | None = None) -> "Output":
        """Add text or bytes unchanged, anything else as JSON."""
        if isinstance(value, str):
            return self._add(value.encode(), TEXT, key, batch_index)
        if isinstance(value, Frame):
            return self._add(value, None, key, batch_index)
        if isinstance(value, bytes | bytearray | memoryview):
            return self._add(bytes(value), BYTES, key, batch_index)
        return self.add_as_json(value, key=key, batch_index=batch_index)

    def add_as_string(self, value: str, key: str | None = None, batch_index: int | None = None) -> "Output":
        return self._add(str(value).encode(), TEXT, key, batch_index)

    def add_as_json(self, val: Any, key: str | None = None, batch_index: int | None = None) -> "Output":
        """Add JSON with an indent of two, as LMI does. Raises ValueError for NaN and infinities, which JSON lacks."""
        text = json.dumps(
            val, ensure_ascii=False, allow_nan=False, indent=2, separators=(",", ":"), default=to_json_type
        )
        return self._add(text.encode(), JSON, key, batch_index)

    def add_as_numpy(self, np_list: Any, key: str | None = None, batch_index: int | None = None) -> "Output":
        """Add an array or a list of arrays as an NDList."""
        from .ndlist import to_nd_list  # noqa: PLC0415  # imports numpy, only where it is used

        return self._add(bytes(to_nd_list(np_list)), NDLIST, key, batch_index)

    def add_as_npz(self, np_list: Any, key: str | None = None, batch_index: int | None = None) -> "Output":
        """Add a list of arrays as an .npz."""
        import numpy as np  # noqa: PLC0415

        file = io.BytesIO()
        np.savez(file, *np_list)
        return self._add(file.getvalue(), NPZ, key, batch_index)

    def add_stream_content(
        self, stream_content: Any, output_formatter: Callable[[Any], Any] | None = outputs_line
    ) -> "Output":
        """Stream the items of an iterator, async or not, each as a line `{"outputs": ...}`, or as the formatter writes it.
        With None they are sent as they are; those that are neither text nor bytes as JSON."""
        self.stream_content = stream_content
        self.stream_formatter = output_formatter
        self.implied_type = JSON_LINES if output_formatter is outputs_line else TEXT
        return self

    def finalize(self, func: Callable[..., Any], *args: Any) -> "Output":
        """Call `func` once the response is complete or cancelled."""
        self._finalizer = (func, args)
        return self

    def execute_finalize(self) -> Any:
        if self._finalizer is None:
            return None
        (function, arguments), self._finalizer = self._finalizer, None
        return function(*arguments)

    def body(self) -> bytes:
        """The content that the client gets: `data`, or else the first."""
        if self.content.is_empty():
            return b""
        data: bytes = self.content.get(DATA) if DATA in self.content.get_keys() else self.content.value_at(0)
        return data

    @staticmethod
    def binary_encode(data: Mapping[str, Any]) -> Frame:
        """`data` as the content of an async handler: names and values, each after its length (big-endian int32)."""
        encoded = struct.pack(">h", len(data))
        for name, value in data.items():
            for text in (str(name), value if isinstance(value, str) else json.dumps(value, default=to_json_type)):
                encoded += struct.pack(">i", len(text.encode())) + text.encode()
        frame = Frame(encoded)
        frame.fields = dict(data)
        return frame

    @staticmethod
    def write_utf8(msg: bytearray, val: str | None) -> None:
        """Append the length of `val` (big-endian int16, -1 for None) and `val` to `msg`."""
        encoded = b"" if val is None else val.encode()
        msg += struct.pack(">h", -1 if val is None else len(encoded)) + encoded

    def send(self, cl_socket: Any) -> NoReturn:  # noqa: ARG002  # LMI's signature
        raise RuntimeError("Output.send is not available here: return the Output, and the server sends it.")

    def _add(self, value: bytes, kind: str | None, key: str | None, batch_index: int | None) -> "Output":
        if batch_index:
            raise ValueError(f"There is no request {batch_index} in this batch: each batch has one request here.")
        if self.content.is_empty() and self.stream_content is None:
            self.implied_type = kind
        self.content.add(None if key is None else str(key), value)
        return self

    def __str__(self) -> str:
        content = [(key, len(value)) for key, value in self.content]
        return f"Output(code={self.code}, message={self.message!r}, properties={self.properties}, content={content})"
