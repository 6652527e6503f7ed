"""The body of a request and its content type -> the JSON object that it means.

Besides JSON, LMI's `text/plain` and `text/csv`, forms with image files and plain images are read. An image that does not
come inside JSON stays bytes, where JSON has a URL.
"""

import codecs
import csv
import re
from collections.abc import Iterator, Mapping
from email.message import Message
from typing import Any
from urllib.parse import parse_qsl

from pydantic_core import from_json
from python_multipart.exceptions import FormParserError

from handler.errors import InvalidRequest
from handler.payload.fields import json_type, shorten
from handler.payload.form import Field, form_fields

MAX_CONTENT_TYPE = 1024  # characters; parsing quotes and semicolons takes time quadratic in them
MAX_ROWS = 1000
# Python's own codecs, which no client uses. Decoding some of them takes time quadratic in the length of the body.
PYTHON_CODECS = frozenset({"idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape"})
CSV_COLUMNS = ("inputs", "question", "context")  # LMI's
JSON_LINES = frozenset(
    {"application/jsonlines", "application/jsonl", "application/x-jsonlines", "application/x-ndjson"}
)
UNSUPPORTED_TYPES = ("audio/", "video/", "tensor/", "application/x-npy", "application/x-npz")
SCHEMAS = ("messages", "question", "prompt", "inputs")
LARGE_BYTES = 2**20
MAX_VALUES = 500_000
_LINE = re.compile(r"[^\r\n]*(?:\r\n|[\r\n]|\Z)")


def decode_body(body: bytes, content_type: str, query: str = "", question: str | None = None) -> dict[str, Any]:
    """The object. `query` is the query of the URL; `question` is the one about a body that is an image, if a header has it.

    Raises InvalidRequest for a body that does not match its content type, and for an unsupported content type.
    """
    if len(content_type) > MAX_CONTENT_TYPE:
        raise InvalidRequest(
            f"The content type has {len(content_type)} characters; the maximum is {MAX_CONTENT_TYPE}.",
            code="content_type",
        )
    kind = content_type.partition(";")[0].strip().lower()
    if kind.startswith(UNSUPPORTED_TYPES):
        raise InvalidRequest(f"The content type {shorten(kind)} is not supported; send JSON.", code="content_type")
    if kind == "text/csv":
        _check_value_count(body)
        return {"inputs": _csv_inputs(_decode_text(body, content_type))}
    if kind == "text/plain":
        return {"inputs": _decode_text(body, content_type)}
    if kind == "multipart/form-data":
        return _form_payload(body, content_type)
    if kind.startswith("image/"):
        fields = dict(parse_qsl(query))
        if question is not None:
            fields.setdefault("question", question)
        return _build_payload(fields, [Field("body", body)])
    return json_object(body)


def json_lines(body: bytes, content_type: str) -> list[bytes]:
    """The lines of a body of several JSON lines; none for any other body. Raises InvalidRequest if there are too many."""
    if content_type.partition(";")[0].strip().lower() not in JSON_LINES:
        return []
    if (count := body.count(b"\n")) > 2 * MAX_ROWS:
        raise InvalidRequest(f"The body has {count} lines; the maximum is {MAX_ROWS} lines of JSON.")
    lines = [line for line in body.splitlines() if line.strip()]
    if len(lines) > MAX_ROWS:
        raise InvalidRequest(f"The body has {len(lines)} JSON lines; the maximum is {MAX_ROWS}.")
    _check_value_count(body)
    return lines if len(lines) > 1 else []


def json_object(body: bytes) -> dict[str, Any]:
    """The object. Raises InvalidRequest for anything else."""
    if not body.strip():
        raise InvalidRequest("The body is empty; send a JSON object with `messages`.")
    _check_value_count(body)
    try:
        payload = from_json(body, allow_inf_nan=False)
    except ValueError as fault:
        raise InvalidRequest(f"The body is not valid JSON: {fault}.", code="invalid_json") from fault
    if not isinstance(payload, dict):
        raise InvalidRequest(f"The body is {json_type(payload)}; send a JSON object with `messages`.")
    return payload


def _check_value_count(body: bytes) -> None:
    # 5 MB of base64 parse in half a millisecond; 64 MB of `[],[],` take seconds and gigabytes. Commas separate values, and
    # searching a body that has few of them costs next to nothing.
    if len(body) < LARGE_BYTES:
        return
    position = -1
    for _ in range(MAX_VALUES):
        position = body.find(b",", position + 1)
        if position < 0:
            return
    raise InvalidRequest(f"The body has more than {MAX_VALUES} commas; send a shorter prompt.", code="too_many_values")


def _decode_text(body: bytes, content_type: str) -> str:
    message = Message()
    message["content-type"] = content_type
    charset = message.get_content_charset("utf-8")
    try:
        is_text_codec = codecs.lookup(charset).name not in PYTHON_CODECS
        text = body.decode(charset if is_text_codec else "utf-8")
    except (LookupError, ValueError) as fault:
        raise InvalidRequest(f"The body is not text in {shorten(charset)}: {fault}.") from fault
    if not is_text_codec:
        raise InvalidRequest(f"The body is not text in {shorten(charset)}, which is not a text encoding; send UTF-8.")
    return text.removeprefix("\ufeff")  # the byte order mark that spreadsheets write


def _csv_inputs(text: str) -> list[str]:
    try:
        reader = csv.DictReader((line[0] for line in _LINE.finditer(text)), strict=True)
        columns = [name.strip() for name in reader.fieldnames or ()]
        _check_columns(columns)
        reader.fieldnames = columns
        inputs = [_csv_input(row, number) for number, row in _rows(reader)]
    except csv.Error as fault:
        raise InvalidRequest(f"The body is not valid CSV: {fault}.") from fault
    if not inputs:
        raise InvalidRequest("The CSV has no rows below its header.")
    return inputs


def _check_columns(columns: list[str]) -> None:
    if unknown := [name for name in columns if name not in CSV_COLUMNS]:
        named = ", ".join(CSV_COLUMNS)
        raise InvalidRequest(f"The CSV has a column {shorten(unknown[0])!r}; its header row must name {named}.")
    if not {"inputs", "question"} & set(columns):
        raise InvalidRequest("The CSV's header row names neither `inputs` nor `question`.")


def _rows(reader: Iterator[Mapping[str | None, str | None]]) -> Iterator[tuple[int, Mapping[str | None, str | None]]]:
    """The rows and their numbers, the header's being 1."""
    for number, row in enumerate(reader, 2):
        if number > MAX_ROWS + 1:
            raise InvalidRequest(f"The CSV has more than {MAX_ROWS} rows below its header.")
        yield number, row


def _csv_input(row: Mapping[str | None, str | None], number: int) -> str:
    texts = [row.get(name) for name in ("context", "question", "inputs")]
    if None in row or None in row.values():
        raise InvalidRequest(f"Line {number} of the CSV has another number of fields than its header.")
    return "\n".join(text for text in texts if text)


def _form_payload(body: bytes, content_type: str) -> dict[str, Any]:
    try:
        found = form_fields(body, content_type)
    except FormParserError as fault:
        raise InvalidRequest(f"The body is not a valid form: {fault}.") from fault
    fields: dict[str, str] = {}
    for field in found:
        if field.is_file:
            continue
        if field.name in fields:
            raise InvalidRequest(f"The form has the field {shorten(field.name)!r} twice.", param=field.name)
        try:
            fields[field.name] = field.content.decode()
        except UnicodeDecodeError as fault:
            raise InvalidRequest(f"The form's field {shorten(field.name)!r} is not UTF-8.", param=field.name) from fault
    return _build_payload(fields, [field for field in found if field.is_file])


def _build_payload(fields: Mapping[str, str], files: list[Field]) -> dict[str, Any]:
    """One request of the fields of a form or a query and the images that came with them."""
    named = [name for name in SCHEMAS if name in fields]
    if len(named) != 1:
        wanted = "`question` (a chat about the image), or `messages`, `prompt` or `inputs`"
        raise InvalidRequest(f"A body with images needs one of {wanted}; it has {', '.join(named) or 'none'}.")
    schema = named[0]
    payload = {
        name: value if name in ("prompt", "inputs", "model") else _parse_value(value) for name, value in fields.items()
    }
    images = [{"url": file.content} for file in files]
    if schema == "question":
        payload["messages"] = [
            {"role": "user", "content": [*_image_parts(images), {"type": "text", "text": fields["question"]}]}
        ]
        del payload["question"]
    elif schema == "messages":
        payload["messages"] = _add_images(payload["messages"], _image_parts(images))
    elif images:
        payload["images"] = images
    return payload


def _image_parts(images: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"type": "image_url", "image_url": image} for image in images]


def _add_images(messages: Any, parts: list[dict[str, Any]]) -> Any:
    """`messages` with `parts` before the content of the last message."""
    if not parts or not isinstance(messages, list) or not messages or not isinstance(messages[-1], dict):
        return messages
    *before, last = messages
    content = last.get("content")
    own = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return [*before, {**last, "content": [*parts, *own] if isinstance(own, list) else parts}]


def _parse_value(text: str) -> Any:
    """The JSON value of a field (a number, an object, ...), or its text where it is not JSON."""
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        return text
