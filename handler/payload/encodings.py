"""The body of a request, in the encoding that its content type names -> the JSON object that it means.

Beside JSON there are LMI's `text/plain` and `text/csv`, a form with image files, and an image as it is. An image that
is not inside JSON stays bytes, where JSON would have a URL.
"""

import codecs
import csv
import io
from collections.abc import Mapping
from email.message import Message
from typing import Any
from urllib.parse import parse_qsl

from pydantic_core import from_json
from python_multipart.exceptions import MultipartParseError

from handler.errors import InvalidRequest
from handler.payload.document import json_object
from handler.payload.fields import short
from handler.payload.form import Field, form_fields

MOST_ROWS = 1000
# Codecs of Python's own that no client writes; to decode some of them takes the square of the body's length.
NO_CHARSETS = frozenset({"idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape"})
CSV_COLUMNS = ("inputs", "question", "context")  # LMI's
WITHOUT_A_MEANING = ("audio/", "video/", "tensor/", "application/x-npy", "application/x-npz")
SCHEMAS = ("messages", "question", "prompt", "inputs")


def decoded(body: bytes, content_type: str, query: str = "", question: str | None = None) -> dict[str, Any]:
    """The object. `query` is the URL's; the `question` beside a body that is an image may come otherwise as well.

    Raises InvalidRequest for a body that is not what its content type says, and for a type that nothing here reads.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind.startswith(WITHOUT_A_MEANING):
        raise InvalidRequest(f"Bodies of type {short(kind)} are not read here; send JSON.", code="content_type")
    if kind == "text/csv":
        return {"inputs": _rows(_text(body, content_type))}
    if kind == "text/plain":
        return {"inputs": _text(body, content_type)}
    if kind == "multipart/form-data":
        return _form(body, content_type)
    if kind.startswith("image/"):
        fields = dict(parse_qsl(query))
        if question is not None:
            fields.setdefault("question", question)
        return _assembled(fields, [Field("body", body)])
    return json_object(body)


def _text(body: bytes, content_type: str) -> str:
    message = Message()
    message["content-type"] = content_type
    charset = message.get_content_charset("utf-8")
    try:
        is_of_texts = codecs.lookup(charset).name not in NO_CHARSETS
        text = body.decode(charset if is_of_texts else "utf-8")
    except (LookupError, ValueError) as fault:
        raise InvalidRequest(f"The body is not text in {short(charset)}: {fault}.") from fault
    if not is_of_texts:
        raise InvalidRequest(f"The body is not text in {short(charset)}, which no text is written in; send UTF-8.")
    return text.removeprefix("\ufeff")  # spreadsheets begin with a mark what they save as UTF-8


def _rows(text: str) -> list[str]:
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        columns = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = columns
        rows = list(reader)
    except csv.Error as fault:
        raise InvalidRequest(f"The body is not valid CSV: {fault}.") from fault
    if strange := [name for name in columns if name not in CSV_COLUMNS]:
        named = ", ".join(CSV_COLUMNS)
        raise InvalidRequest(f"The CSV has a column {short(strange[0])!r}; its header row must name {named}.")
    if not {"inputs", "question"} & set(columns):
        raise InvalidRequest("The CSV's header row names neither `inputs` nor `question`.")
    if not rows or len(rows) > MOST_ROWS:
        raise InvalidRequest(f"The CSV has {len(rows)} rows below its header; 1 to {MOST_ROWS} are taken.")
    return [_row(row, number) for number, row in enumerate(rows, 2)]


def _row(row: Mapping[str | None, str | None], number: int) -> str:
    texts = [row.get(name) for name in ("context", "question", "inputs")]
    if None in row or None in row.values():
        raise InvalidRequest(f"Line {number} of the CSV has another number of fields than its header.")
    return "\n".join(text for text in texts if text)


def _form(body: bytes, content_type: str) -> dict[str, Any]:
    try:
        found = form_fields(body, content_type)
    except MultipartParseError as fault:
        raise InvalidRequest(f"The body is not a valid form: {fault}.") from fault
    fields: dict[str, str] = {}
    for field in found:
        if field.is_file:
            continue
        if field.name in fields:
            raise InvalidRequest(f"The form has the field {short(field.name)!r} twice.", param=field.name)
        try:
            fields[field.name] = field.content.decode()
        except UnicodeDecodeError as fault:
            raise InvalidRequest(f"The form's field {short(field.name)!r} is not UTF-8.", param=field.name) from fault
    return _assembled(fields, [field for field in found if field.is_file])


def _assembled(fields: Mapping[str, str], images: list[Field]) -> dict[str, Any]:
    """Fields of a form or a query, and the images beside them, as one request of the schema that they name."""
    named = [name for name in SCHEMAS if name in fields]
    if len(named) != 1:
        wanted = "`question` (a chat about the image), or `messages`, `prompt` or `inputs`"
        raise InvalidRequest(f"Beside the image there must be one of {wanted}; there is {named or 'none'}.")
    schema = named[0]
    payload = {
        name: value if name in ("prompt", "inputs", "model") else _value(value) for name, value in fields.items()
    }
    shown = [{"url": image.content} for image in images]
    if schema == "question":
        payload["messages"] = [
            {"role": "user", "content": [*_parts(shown), {"type": "text", "text": fields["question"]}]}
        ]
        del payload["question"]
    elif schema == "messages":
        payload["messages"] = _with_images(payload["messages"], _parts(shown))
    elif shown:
        payload["images"] = shown
    return payload


def _parts(shown: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"type": "image_url", "image_url": image} for image in shown]


def _with_images(messages: Any, parts: list[dict[str, Any]]) -> Any:
    """`messages` with `parts` before what the last message says."""
    if not parts or not isinstance(messages, list) or not messages or not isinstance(messages[-1], dict):
        return messages
    *before, last = messages
    content = last.get("content")
    said = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return [*before, {**last, "content": [*parts, *said] if isinstance(said, list) else parts}]


def _value(text: str) -> Any:
    """What a field says: a number, an object ... where it reads as JSON, else the text itself."""
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        return text
