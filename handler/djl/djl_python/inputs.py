"""The request that user code reads: properties (options and headers) and content."""

import csv
import io
import json
from typing import Any, NoReturn

from .pair_list import PairList
from .properties import Properties

DATA = "data"  # the key of the body; form fields and query parameters have their own names


class Input:
    """One request, or, if `is_empty()`, the call at start in which a handler loads its model.

    The methods are LMI's. The attributes `properties`, `content` and `function_name` are public in LMI too.
    """

    def __init__(self) -> None:
        self.function_name: str | None = None
        self.properties: Properties = Properties()
        self.content = PairList()

    def is_empty(self) -> bool:
        return self.content.is_empty()

    def is_batch(self) -> bool:
        """Whether it holds several requests. Lumi itself never batches requests."""
        return "batch_size" in self.properties and self.get_batch_size() > 1

    def get_batch_size(self) -> int:
        return int(self.properties.get("batch_size", 1))

    def get_batches(self) -> list["Input"]:
        """The requests in this batch, which is one request."""
        return [self]

    def get_function_name(self) -> str | None:
        return self.function_name

    def get_properties(self) -> Properties:
        return self.properties

    def get_property(self, key: str) -> Any:
        """The option or header of that name, in any case, or None."""
        return self.properties.get(key)

    def get_content(self) -> PairList:
        return self.content

    def contains_key(self, key: str) -> bool:
        return key in self.content.get_keys()

    def get_data(self, key: str | None = None) -> Any:
        """The content decoded by its content type: JSON, text, images and arrays. Any other is bytes."""
        if self.is_empty():
            return None
        kind = (self.get_property("content-type") or "").lower()
        readers = {
            "application/json": self.get_as_json,
            "tensor/ndlist": self.get_as_numpy,
            "application/x-npy": self.get_as_numpy,
            "tensor/npz": self.get_as_npz,
            "text/": self.get_as_string,
            "image/": self.get_as_image,
        }
        read = next((reader for start, reader in readers.items() if kind.startswith(start)), self.get_as_bytes)
        return read(key)

    def get_as_bytes(self, key: str | None = None) -> Any:
        """The body, or the content `key`. None if the Input is empty. Raises KeyError for an unknown key."""
        if self.is_empty():
            return None
        if key is not None:
            if not self.contains_key(key):
                raise KeyError(f"The request has no content {key!r}; it has {self.content.get_keys()}.")
            return self.content.get(key)
        return self.content.get(DATA) if self.contains_key(DATA) else self.content.value_at(0)

    def get_as_string(self, key: str | None = None) -> str:
        return self._content(key).decode("utf-8")

    def get_as_json(self, key: str | None = None) -> Any:
        return json.loads(self._content(key))

    def get_as_image(self, key: str | None = None) -> Any:
        """The image as a PIL image in RGB."""
        from PIL import Image  # noqa: PLC0415  # slow to import, only where it is used

        return Image.open(io.BytesIO(self._content(key))).convert("RGB")

    def get_as_numpy(self, key: str | None = None) -> Any:
        """The arrays of an NDList or an .npz as a list, or the array of an .npy. Nothing is unpickled."""
        data = self._content(key)
        if data.startswith(b"\x93NUMPY"):
            import numpy as np  # noqa: PLC0415

            return np.load(io.BytesIO(data), allow_pickle=False)
        if data.startswith(b"PK"):
            return self.get_as_npz(key)
        from .ndlist import from_nd_list  # noqa: PLC0415

        return from_nd_list(data)

    def get_as_npz(self, key: str | None = None) -> list[Any]:
        """The arrays of an .npz, in order. Nothing is unpickled."""
        import numpy as np  # noqa: PLC0415

        with np.load(io.BytesIO(self._content(key)), allow_pickle=False) as archive:
            return [archive[name] for name in archive.files]

    def get_as_csv(self, key: str | None = None) -> list[dict[str, str]]:
        """One dict per row. The first row has the names."""
        return list(csv.DictReader(io.StringIO(self.get_as_string(key))))

    def read(self, conn: Any) -> NoReturn:  # noqa: ARG002  # LMI's signature
        raise RuntimeError("Input.read is not available here: requests come over HTTP, and the server fills the Input.")

    def _content(self, key: str | None) -> bytes:
        data = self.get_as_bytes(key)
        if data is None:
            raise ValueError("The request is empty; check is_empty() first.")
        return bytes(data)

    def __str__(self) -> str:
        lines = [f"properties: {dict(self.properties)}"]
        return "\n".join((*lines, *(f"{key}: {len(value)} bytes" for key, value in self.content)))
