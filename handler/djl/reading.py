"""What user code returned -> an Answer: its status, its headers, its bytes. Nothing here calls user code."""

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from handler.djl.djl_python.outputs import JSON, JSON_LINES, Frame, Output, plain

log = logging.getLogger("lumi.user_code")

FAILED = 424  # of a handler that says that it failed and not how: what LMI's Output.error says
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}")
_VALUE = re.compile(r"[\x20-\x7e\xa0-\xff\t]{0,8000}")
# They belong to the connection, or are the server's to say.
_NOT_THEIRS = frozenset(
    ("content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "trailer", "te", "date", "server")
)


class Unfit(Exception):
    """What was returned cannot be sent; the message says why, to the author of the code."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece of a stream. `failed` is the status of a handler that reports a failure in it."""

    data: bytes
    last: bool = False
    failed: int | None = None


def status(code: Any) -> int:
    """`code` as an HTTP status. Raises Unfit."""
    if isinstance(code, bool) or not hasattr(code, "__index__") or not 200 <= int(code) <= 599:
        raise Unfit(f"the Output has the code {code!r}, which is no HTTP status from 200 to 599")
    return int(code)


def headers(properties: Mapping[str, Any], implied_type: str | None) -> dict[str, str]:
    """Properties as headers, in small letters. One that no header can hold is left out, and logged."""
    fit: dict[str, str] = {} if implied_type is None else {"content-type": implied_type}
    for name, value in properties.items():
        text = value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
        if not isinstance(name, str) or not _NAME.fullmatch(name) or not _VALUE.fullmatch(text):
            log.warning("the property %.80r of an Output cannot be a header and is left out", name)
        elif name.lower() not in _NOT_THEIRS:
            fit[name.lower()] = text.strip()
    return fit


def whole(output: Output) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an Output that does not stream. Raises Unfit."""
    body = output.body()
    if len(output.content) > 1:
        log.warning("an Output has %d contents, of which `data` or the first is sent", len(output.content))
    if not isinstance(body, Frame):
        return status(output.code), headers(output.properties, output.implied_type), body
    sent = piece(output)
    code = status(output.code) if sent.failed is None else sent.failed
    return code, headers(output.properties, JSON), sent.data


def piece(item: Any) -> Piece:
    """One item of a stream as bytes. Raises Unfit."""
    if isinstance(item, Output):
        body = item.body()
        return _framed(body) if isinstance(body, Frame) else Piece(body)
    if isinstance(item, str):
        return Piece(item.encode())
    if isinstance(item, bytes | bytearray | memoryview):
        return Piece(bytes(item))
    return Piece(_json(item) + b"\n")


def opening(output: Output | None) -> tuple[int, dict[str, str]]:
    """Status and headers of a stream, which the first Output of it says. Raises Unfit."""
    if output is None:
        return 200, {"content-type": JSON_LINES}
    return status(output.code), headers(output.properties, output.implied_type or JSON_LINES)


def _framed(frame: Frame) -> Piece:
    fields = frame.fields
    error, code, data = fields.get("error"), fields.get("code"), fields.get("data", "")
    if error:
        asked = status(code) if code else FAILED
        return Piece(_json({"error": error, "code": asked}) + b"\n", last=True, failed=asked)
    failed = status(code) if code and status(code) >= 400 else None
    encoded = data.encode() if isinstance(data, str) else bytes(data) if isinstance(data, bytes) else _json(data)
    return Piece(encoded, last=bool(fields.get("last")), failed=failed)


def _json(value: Any) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=plain).encode()
    except (TypeError, ValueError) as fault:
        raise Unfit(f"it answered with something that JSON does not have: {fault}") from fault
