"""A stream that user code returned, taken piece by piece in the thread of the code."""

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from typing import Any

from handler.djl import reading
from handler.djl.djl_python import Output
from handler.djl.reading import Piece


def is_stream(result: Any) -> bool:
    """Whether it gives pieces: an Output with stream content, a generator or another iterator, async or not."""
    if isinstance(result, Output):
        return result.stream_content is not None
    return isinstance(result, AsyncIterator | Iterator)


class Stream:
    """`output` says the status and the headers: the Output that streams, or the first of those that are streamed."""

    def __init__(self, result: Any) -> None:
        self.output: Output | None = result if isinstance(result, Output) else None
        self._formatter: Callable[[Any], Any] | None = getattr(result, "stream_formatter", None)
        self._finalize: Callable[[], Any] = getattr(result, "execute_finalize", lambda: None)
        source = result.stream_content if isinstance(result, Output) else result
        self._source = aiter(source) if isinstance(source, AsyncIterable) else iter(source)

    async def take(self) -> Piece | None:
        """The next piece, or None after the last. Raises what user code raises, and Unfit."""
        try:
            item = await anext(self._source) if isinstance(self._source, AsyncIterator) else next(self._source)
        except (StopAsyncIteration, StopIteration):
            return None
        if self._formatter is not None:
            item = self._formatter(item)
        if self.output is None and isinstance(item, Output):
            self.output = item
        return Piece(b"") if item is None else reading.piece(item)

    async def close(self) -> None:
        """Close the source, and then do what was to be done at the end."""
        try:
            close = getattr(self._source, "aclose", None) or getattr(self._source, "close", None)
            closed = close() if close is not None else None
            if inspect.isawaitable(closed):
                await closed
        finally:
            self._finalize()
