"""Outputs of LMI's async handlers: a complete response, or one chunk of a stream."""

import json
import logging
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Mapping
from typing import Any

from .outputs import JSON, JSON_LINES, Output, to_json_type

log = logging.getLogger("lumi.user_code")


def create_non_stream_output(
    data: str | Mapping[str, Any],
    properties: Mapping[str, Any] | None = None,
    error: str | None = None,
    code: int | None = None,
) -> Output:
    """A complete response in JSON. With `error` it is an error of the status `code`."""
    return _output(data, JSON, last=True, properties=properties or {}, error=error, code=code)


def create_stream_chunk_output(
    data: str | Mapping[str, Any],
    last_chunk: bool,
    error: str | None = None,
    code: int | None = None,
) -> Output:
    """One line of a stream."""
    return _output(data, JSON_LINES, last=last_chunk, properties={}, error=error, code=code)


async def handle_streaming_response(
    response: AsyncIterable[Any],
    stream_output_formatter: Callable[..., Any],
    accumulate_chunks: bool = False,
    **kwargs: Any,
) -> AsyncGenerator[Output, None]:
    """Pass each chunk of `response` to the formatter, which returns its text and whether it is the last chunk. If chunks
    are accumulated, it takes and returns the `history` too."""
    history: list[Any] = []
    async for chunk in response:
        try:
            if accumulate_chunks:
                data, last, history = stream_output_formatter(chunk, history=history, **kwargs)
            else:
                data, last = stream_output_formatter(chunk, **kwargs)
        except Exception:
            log.exception("the formatter of a stream failed")
            yield create_stream_chunk_output("", True, error="The formatter of the stream failed.", code=424)
            return
        yield create_stream_chunk_output(data, last)
        if last:
            return


def _output(
    data: str | Mapping[str, Any],
    kind: str,
    *,
    last: bool,
    properties: Mapping[str, Any],
    error: str | None,
    code: int | None,
) -> Output:
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, default=to_json_type)
    failure = {"error": error, "code": code}
    fields = {"data": text + "\n", "last": last, **{name: value for name, value in failure.items() if value}}
    output = Output().add_property("Content-Type", kind)
    for name, value in properties.items():
        output.add_property(name, value)
    return output.add(Output.binary_encode(fields))


def __getattr__(name: str) -> Any:
    if name in ("register_adapter", "update_adapter", "unregister_adapter"):
        raise ImportError(f"{name} is not available here: the server registers adapters, not user code.")
    raise AttributeError(f"module 'djl_python.async_utils' has no attribute {name!r}")
