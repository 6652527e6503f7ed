"""Request bodies, responses that are streamed, and work that ends when the client disconnects."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Mapping
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from container.http.framing import Framing
from container.http.statuses import error_body
from handler.errors import BodyTooLarge, InvalidRequest, LumiError, PredictTimeout

T = TypeVar("T")

BODY_SECONDS = 120  # LMI's chunked_read_timeout; here for the whole body, since the request holds a permit meanwhile


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body. Raises BodyTooLarge as soon as it is known to have more than `limit` bytes, and InvalidRequest if it
    is not complete in time."""
    declared = request.headers.get("content-length", "")
    size = int(declared) if declared.isdigit() else 0
    pieces: list[bytes] = []
    try:
        async with asyncio.timeout(BODY_SECONDS):
            if size <= limit:
                size = 0
                async for piece in request.stream():
                    size += len(piece)
                    if size > limit:
                        break
                    pieces.append(piece)
    except TimeoutError as slow:
        raise InvalidRequest(f"The body was not complete after {BODY_SECONDS} s.", code="body_timeout") from slow
    if size > limit:
        raise BodyTooLarge(f"The body is larger than {limit} bytes (OPTION_MAX_REQUEST_SIZE).")
    return b"".join(pieces)


async def run_for_client(receive: Receive, work: Awaitable[T], seconds: float) -> T:
    """The result of `work`. Raises PredictTimeout after `seconds`, and ClientDisconnect if the client leaves first; both
    cancel `work`."""
    try:
        async with asyncio.timeout(seconds):
            return await while_connected(receive, work)
    except TimeoutError as slow:
        raise predict_timeout(seconds) from slow


async def while_connected(receive: Receive, work: Awaitable[T]) -> T:
    """The result of `work`. If the client leaves first, `work` is cancelled and ClientDisconnect is raised."""
    task = asyncio.ensure_future(work)
    disconnected = asyncio.ensure_future(_wait_for_disconnect(receive))
    try:
        await asyncio.wait((task, disconnected), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return await task
        raise ClientDisconnect
    finally:
        disconnected.cancel()
        if not task.done():
            task.cancel()
            # Wait until the engine has the abort; the outcome of the task does not matter.
            await asyncio.gather(task, return_exceptions=True)


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def predict_timeout(seconds: float) -> PredictTimeout:
    """The error for a response, or a chunk of one, that is late."""
    return PredictTimeout(
        f"The model returned nothing for {seconds:g} s; ask for fewer tokens, stream, or raise OPTION_PREDICT_TIMEOUT."
    )


class StreamedResponse(Response):
    """A stream whose first chunk is known, so that an error before it was an ordinary response.

    A later error is written into the stream, and raised as well. `seconds` limits the wait for each chunk, and for the
    client to take it. However the response ends, `chunks` is closed. `status` and `headers` are for user code.
    """

    def __init__(
        self,
        first: bytes | None,
        chunks: AsyncGenerator[bytes, None],
        *,
        framing: Framing,
        seconds: float,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status_code=status, headers={"content-type": framing.content_type, **(headers or {})})
        del self.headers["content-length"]
        self.headers["cache-control"] = "no-cache"
        # Proxies such as nginx would otherwise buffer the chunks.
        self.headers["x-accel-buffering"] = "no"
        self._first = first
        self._chunks = chunks
        self._framing = framing
        self._seconds = seconds

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
            async with asyncio.timeout(self._seconds) as deadline:
                chunk = self._first
                while chunk is not None:
                    await send(_body(self._framing.frame(chunk)))
                    waiting_for_model = True
                    chunk = await anext(self._chunks, None)
                    waiting_for_model = False
                    deadline.reschedule(clock() + self._seconds)
                await send(_body(self._framing.last))
        except TimeoutError as slow:
            if not waiting_for_model:
                raise ClientDisconnect from slow  # the client is connected, but does not read
            await self._send_error(send, error := predict_timeout(self._seconds))
            raise error from slow
        except LumiError as error:
            await self._send_error(send, error)
            raise
        await send(_body(b"", more=False))

    async def _send_error(self, send: Send, error: LumiError) -> None:
        async with asyncio.timeout(self._seconds):
            await send(_body(self._framing.errors.frame(error_body(error))))
            await send(_body(b"", more=False))


def _body(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}
