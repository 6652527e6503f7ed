"""Answers that come in pieces, and work that ends when the client leaves."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import TypeVar

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from container.http.framing import Framing
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
    """The result of `work`. Raises PredictTimeout."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError as slow:
        raise late(seconds) from slow


def late(seconds: float) -> PredictTimeout:
    """The error for an answer, or a piece of one, that did not come in time."""
    return PredictTimeout(
        f"Nothing came of the model for {seconds:g} s; ask for fewer tokens, stream, or raise OPTION_PREDICT_TIMEOUT."
    )


class StreamedAnswer(Response):
    """A stream whose first chunk is there already, so that an error before it was an ordinary error.

    `error_body` writes an error that comes later, which travels in the stream and is raised as well. `seconds` bounds the
    wait for each piece, and for the client to take it. Whatever ends the response, `chunks` is closed. `status` and
    `headers` are for user code that streams.
    """

    def __init__(
        self,
        first: bytes | None,
        chunks: AsyncGenerator[bytes, None],
        *,
        framing: Framing,
        seconds: float,
        error_body: Callable[[LumiError], bytes],
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status_code=status, headers={"content-type": framing.content_type, **(headers or {})})
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
        clock = asyncio.get_running_loop().time
        waiting_for_model = False
        try:
            async with asyncio.timeout(self._seconds) as patience:
                chunk = self._first
                while chunk is not None:
                    await send(_piece(self._framing.frame(chunk)))
                    waiting_for_model = True
                    chunk = await anext(self._chunks, None)
                    waiting_for_model = False
                    patience.reschedule(clock() + self._seconds)
                await send(_piece(self._framing.last))
        except TimeoutError as stalled:
            if not waiting_for_model:
                raise ClientDisconnect from stalled  # it is there, but does not read
            await self._break_off(send, error := late(self._seconds))
            raise error from stalled
        except LumiError as error:
            await self._break_off(send, error)
            raise
        await send(_piece(b"", more=False))

    async def _break_off(self, send: Send, error: LumiError) -> None:
        async with asyncio.timeout(self._seconds):
            await send(_piece(self._framing.faults.frame(self._error_body(error))))
            await send(_piece(b"", more=False))


def _piece(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}
