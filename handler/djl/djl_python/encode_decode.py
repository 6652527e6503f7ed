"""Content decoded and encoded by its content type, as in LMI's own handlers."""

import csv
import io
from typing import Any

from .inputs import Input
from .outputs import Output

_HEADERS = ("question", "context", "inputs")


def decode(inputs: Input, content_type: str | None, key: str | None = None, require_csv_headers: bool = True) -> Any:
    """The content as Python values: parsed JSON, or anything else under `inputs`. Raises ValueError."""
    kind = (content_type or "").split(";")[0].strip().lower()
    if not kind and not inputs.get_as_bytes(key):
        return {"inputs": ""}
    if kind in ("", "application/json"):
        return inputs.get_as_json(key)
    if kind == "text/csv":
        return decode_csv(inputs, require_headers=require_csv_headers, key=key)
    return {"inputs": _decode_type(inputs, kind, key)}


def _decode_type(inputs: Input, kind: str, key: str | None) -> Any:
    if kind == "text/plain":
        return [inputs.get_as_string(key)]
    readers = {
        "image/": inputs.get_as_image,
        "tensor/npz": inputs.get_as_npz,
        "application/x-npz": inputs.get_as_npz,
        "tensor/ndlist": inputs.get_as_numpy,
        "application/x-npy": inputs.get_as_numpy,
        "application/x-www-form-urlencoded": inputs.get_as_string,
    }
    return next((read for start, read in readers.items() if kind.startswith(start)), inputs.get_as_bytes)(key)


def decode_csv(inputs: Input, require_headers: bool = True, key: str | None = None) -> Any:
    """The rows under `inputs`, or an array of numbers if no header is required."""
    text = inputs.get_as_string(key)
    if not require_headers:
        return _parse_numbers(text)
    rows = list(csv.DictReader(io.StringIO(text)))
    columns = list(rows[0]) if rows else []
    if not any(name in (column or "").lower() for column in columns for name in _HEADERS):
        raise ValueError(f"The first row of the CSV must name a column {', '.join(_HEADERS[:-1])} or {_HEADERS[-1]}.")
    return {"inputs": [row["inputs"] for row in rows] if "inputs" in columns else rows}


def _parse_numbers(text: str) -> Any:
    import numpy as np  # noqa: PLC0415  # slow to import, only where it is used

    # Not the toolkit's decoder, which makes records of rows whose columns differ in type.
    numbers = np.genfromtxt(io.StringIO(text), delimiter=",")
    if np.isnan(numbers).any():
        raise ValueError("The CSV has a value that is not a number.")
    return numbers


def encode(outputs: Output, prediction: Any, content_type: str | None, key: str | None = None) -> Output:
    """Add `prediction` in the type that `content_type` (an Accept header) names: JSON, CSV, npz, or else an NDList."""
    kind = (content_type or "").lower()
    if not kind or "application/json" in kind or "*/*" in kind:
        return outputs.add_as_json(prediction, key=key).add_property("Content-Type", "application/json")
    if "text/csv" in kind:
        return outputs.add_as_string(encode_csv(prediction), key=key).add_property("Content-Type", "text/csv")
    if "tensor/npz" in kind:
        return outputs.add_as_npz(prediction, key=key).add_property("Content-Type", "tensor/npz")
    return outputs.add_as_numpy(prediction, key=key).add_property("Content-Type", "tensor/ndlist")


def encode_csv(content: Any) -> str:
    """Dicts as rows below a header with their keys. Arrays and lists as rows of numbers."""
    rows = list(content)
    if not rows or not isinstance(rows[0], dict):
        from sagemaker_inference import content_types, encoder  # noqa: PLC0415

        return str(encoder.encode(rows, content_types.CSV))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()
