"""What user code returned -> status, headers and bytes. Nothing here calls user code."""

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from handler.djl.call import CallResult
from handler.djl.djl_python.outputs import JSON, JSON_LINES, Frame, Output, to_json_type
from handler.djl.failures import InvalidOutput

log = logging.getLogger("lumi.user_code")

DEFAULT_ERROR_STATUS = 424  # of an error without a code, as of LMI's Output.error
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}")
_HEADER_VALUE = re.compile(r"[\x20-\x7e\xa0-\xff\t]{0,8000}")
# The server sets these.
_RESERVED_HEADERS = frozenset(
    ("content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "trailer", "te", "date", "server")
)


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk of a stream. `error_status` is set if the handler reports an error in it."""

    data: bytes
    last: bool = False
    error_status: int | None = None


def call_result(output: Any) -> CallResult:
    """The response that is `output`, which does not stream. Raises InvalidOutput."""
    if not isinstance(output, Output):
        raise InvalidOutput(
            f"the handler returned {type(output).__name__}; it must return an Output, None, or a generator of chunks"
        )
    body = output.body()
    if len(output.content) > 1:
        log.warning("an Output has %d contents; only `data`, or else the first one, is sent", len(output.content))
    if not isinstance(body, Frame):
        return CallResult(http_status(output.code), http_headers(output.properties, output.implied_type), body)
    chunk = to_chunk(output)
    if body.fields.get("last") is False:
        raise InvalidOutput(
            "the Output is one token of a rolling batch (`last` is False), and a handler is called once for each request here; "
            "it must return the whole response, or a generator of such Outputs"
        )
    status = http_status(output.code) if chunk.error_status is None else chunk.error_status
    return CallResult(status, http_headers(output.properties, JSON), chunk.data)


def stream_head(output: Output | None) -> tuple[int, dict[str, str]]:
    """Status and headers of a stream, which its first Output sets. Raises InvalidOutput."""
    if output is None:
        return 200, {"content-type": JSON_LINES}
    return http_status(output.code), http_headers(output.properties, output.implied_type or JSON_LINES)


def to_chunk(item: Any) -> Chunk:
    """One item of a stream as bytes. Raises InvalidOutput."""
    if isinstance(item, Output):
        body = item.body()
        return _frame_chunk(body) if isinstance(body, Frame) else Chunk(body)
    if isinstance(item, str):
        return Chunk(item.encode())
    if isinstance(item, bytes | bytearray | memoryview):
        return Chunk(bytes(item))
    return Chunk(_to_json(item) + b"\n")


def http_status(code: Any) -> int:
    """`code` as an HTTP status. Raises InvalidOutput."""
    if isinstance(code, bool) or not hasattr(code, "__index__") or not 200 <= int(code) <= 599:
        raise InvalidOutput(f"the Output has the code {code!r}, which is not an HTTP status from 200 to 599")
    return int(code)


def http_headers(properties: Mapping[str, Any], implied_type: str | None) -> dict[str, str]:
    """Properties as headers, in lower case. A property that is not a valid header is left out, with a warning."""
    headers: dict[str, str] = {} if implied_type is None else {"content-type": implied_type}
    for name, value in properties.items():
        text = value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(text):
            log.warning("the property %.80r of an Output is not a valid header and is left out", name)
        elif name.lower() not in _RESERVED_HEADERS:
            headers[name.lower()] = text.strip()
    return headers


def _frame_chunk(frame: Frame) -> Chunk:
    fields = frame.fields
    error, code, data = fields.get("error"), fields.get("code"), fields.get("data", "")
    if error:
        status = http_status(code) if code else DEFAULT_ERROR_STATUS
        return Chunk(_to_json({"error": error, "code": status}) + b"\n", last=True, error_status=status)
    error_status = http_status(code) if code and http_status(code) >= 400 else None
    encoded = data.encode() if isinstance(data, str) else bytes(data) if isinstance(data, bytes) else _to_json(data)
    return Chunk(encoded, last=bool(fields.get("last")), error_status=error_status)


def _to_json(value: Any) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=to_json_type).encode()
    except (TypeError, ValueError) as fault:
        raise InvalidOutput(f"the output has a value that JSON cannot represent: {fault}") from fault
