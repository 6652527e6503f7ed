"""Answers that come in pieces, and work that ends when the client leaves."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeVar

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from container.framing import Framing
from handler.errors import LumiError, PredictTimeout

T = TypeVar("T")


async def while_connected(receive: Receive, work: Awaitable[T]) -> T:
    """The result of `work`; if the client leaves first, `work` is cancelled and ClientDisconnect is raised."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return await task
        raise ClientDisconnect
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            # Wait until the engine has been told; whatever else comes of it, nobody is there to hear.
            await asyncio.gather(task, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def within(seconds: float, work: Awaitable[T]) -> T:
    """The result of `work`: an answer, or the next piece of one. Raises PredictTimeout."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError as late:
        raise PredictTimeout(
            f"Nothing came of the model for {seconds:g} s; ask for fewer tokens, stream, or raise OPTION_PREDICT_TIMEOUT."
        ) from late


class StreamedAnswer(Response):
    """A stream whose first chunk is there already, so that an error before it was an ordinary error.

    `error_body` writes an error that comes later, which travels in the stream and is raised as well. `seconds` bounds the
    wait for each piece, and for the client to take it. Whatever ends the response, `chunks` is closed.
    """

    def __init__(
        self,
        first: bytes | None,
        chunks: AsyncGenerator[bytes, None],
        *,
        framing: Framing,
        seconds: float,
        error_body: Callable[[LumiError], bytes],
    ) -> None:
        super().__init__(media_type=framing.value)
        del self.headers["content-length"]
        self.headers["cache-control"] = "no-cache"
        # Proxies such as nginx would hold the pieces back until there are enough of them.
        self.headers["x-accel-buffering"] = "no"
        self._first = first
        self._chunks = chunks
        self._framing = framing
        self._seconds = seconds
        self._error_body = error_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # ASGI's signature
        try:
            await while_connected(receive, self._send(send))
        finally:
            await self._chunks.aclose()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            if self._first is not None:
                await self._piece(send, self._framing.frame(self._first))
                while (chunk := await within(self._seconds, anext(self._chunks, None))) is not None:
                    await self._piece(send, self._framing.frame(chunk))
            await self._piece(send, self._framing.last)
        except LumiError as error:
            await self._piece(send, self._framing.frame(self._error_body(error)))
            await self._piece(send, b"", more=False)
            raise
        await self._piece(send, b"", more=False)

    async def _piece(self, send: Send, body: bytes, *, more: bool = True) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                await send({"type": "http.response.body", "body": body, "more_body": more})
        except TimeoutError as stalled:
            raise ClientDisconnect from stalled  # it is there, but does not read
