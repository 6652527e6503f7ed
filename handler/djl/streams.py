"""A stream that user code returned, read chunk by chunk in the thread of the code."""

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from typing import Any

from handler.djl.djl_python import Output
from handler.djl.serialization import Chunk, to_chunk


def is_stream(output: Any) -> bool:
    """Whether it yields chunks: an Output with stream content, a generator or another iterator, async or not."""
    if isinstance(output, Output):
        return output.stream_content is not None
    return isinstance(output, AsyncIterator | Iterator)


class Stream:
    """`head` sets the status and the headers: the Output that streams, or the first Output in the stream."""

    def __init__(self, output: Any) -> None:
        self.head: Output | None = output if isinstance(output, Output) else None
        self._formatter: Callable[[Any], Any] | None = getattr(output, "stream_formatter", None)
        self._finalize: Callable[[], Any] = getattr(output, "execute_finalize", lambda: None)
        source = output.stream_content if isinstance(output, Output) else output
        self._source = aiter(source) if isinstance(source, AsyncIterable) else iter(source)

    async def next_chunk(self) -> Chunk | None:
        """The next chunk, or None after the last. Raises what user code raises, and InvalidOutput."""
        try:
            item = await anext(self._source) if isinstance(self._source, AsyncIterator) else next(self._source)
        except (StopAsyncIteration, StopIteration):
            return None
        if self._formatter is not None:
            item = self._formatter(item)
        if self.head is None and isinstance(item, Output):
            self.head = item
        return Chunk(b"") if item is None else to_chunk(item)

    async def close(self) -> None:
        """Close the source, then call the function that `Output.finalize` registered."""
        try:
            close = getattr(self._source, "aclose", None) or getattr(self._source, "close", None)
            closing = close() if close is not None else None
            if inspect.isawaitable(closing):
                await closing
        finally:
            self._finalize()
