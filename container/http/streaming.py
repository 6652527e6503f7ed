"""Request bodies, responses that are streamed, and work that ends when the client disconnects."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from container.http.exchange import Exchange
from container.http.framing import Framing
from container.http.statuses import error_body
from handler.errors import BodyTooLarge, InvalidRequest, LumiError, PredictTimeout

T = TypeVar("T")

BODY_SECONDS = 120  # LMI's chunked_read_timeout; here for the whole body, since the request holds a permit meanwhile
UNSENT_BYTES = 2**20  # of a stream that is computed faster than its client reads; most answers fit


async def read_body(request: Request, limit: int, exchange: Exchange | None = None) -> bytes:
    """The whole body, whose bytes `exchange` counts. Raises BodyTooLarge as soon as it is known to have more than `limit`
    bytes, and InvalidRequest if it is not complete in time."""
    declared = request.headers.get("content-length", "")
    size = int(declared) if declared.isdigit() else 0
    pieces: list[bytes] = []
    try:
        async with asyncio.timeout(BODY_SECONDS):
            if size <= limit:
                size = 0
                async for piece in request.stream():
                    size += len(piece)
                    if exchange is not None:
                        exchange.body_bytes = size
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


class Unsent:
    """The bytes of one stream between the model and a client that reads more slowly."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._closed = False
        self._changed = asyncio.Event()
        self._room = asyncio.Event()

    @property
    def is_full(self) -> bool:
        """Whether the model should wait for the client."""
        return self._size >= UNSENT_BYTES

    def put(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._size += len(piece)
        self._changed.set()

    def close(self) -> None:
        """Nothing more will be put."""
        self._closed = True
        self._changed.set()

    async def wait_for_room(self) -> None:
        """Return when all that was put is taken."""
        self._room.clear()
        await self._room.wait()

    async def take(self) -> bytes:
        """All that was put since; b"" at the end."""
        while not self._pieces and not self._closed:
            self._changed.clear()
            await self._changed.wait()
        taken = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        self._room.set()
        return taken


class StreamedResponse(Response):
    """A stream whose first chunk is known, so that an error before it was an ordinary response.

    A later error is written into the stream, and raised as well. `seconds` limits the wait for each chunk.
    `when_computed` is called after the last one, while the client may still be reading. However the response ends,
    `chunks` is closed. `status` and `headers` are for user code.
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
        self.when_computed: Callable[[], None] = lambda: None
        self._first = first
        self._chunks = chunks
        self._framing = framing
        self._seconds = seconds
        self._unsent = Unsent()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # ASGI's signature
        try:
            await while_connected(receive, self._send(send))
        finally:
            await self._chunks.aclose()

    async def _send(self, send: Send) -> None:
        computing = asyncio.create_task(self._compute())
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while piece := await self._unsent.take():
                await send(_body(piece))
            try:
                await computing
            except LumiError:  # it is in the stream; after any other the connection breaks, lest it looks like the end
                await send(_body(b"", more=False))
                raise
            await send(_body(b"", more=False))
        finally:
            computing.cancel()
            await asyncio.gather(computing, return_exceptions=True)

    async def _compute(self) -> None:
        """Put the chunks into what is unsent, or the error that ends them. Raises the error."""
        try:
            await self._frame_chunks()
            self._unsent.put(self._framing.last)
        except LumiError as error:
            self._unsent.put(self._framing.errors.frame(error_body(error)))
            raise
        finally:
            self.when_computed()
            self._unsent.close()
            await self._chunks.aclose()  # it has nothing more to compute, but may hold a turn at the engine

    async def _frame_chunks(self) -> None:
        clock = asyncio.get_running_loop().time
        late = predict_timeout(self._seconds)
        try:
            async with asyncio.timeout(self._seconds) as deadline:
                chunk = self._first
                while chunk is not None:
                    self._unsent.put(self._framing.frame(chunk))
                    deadline.reschedule(clock() + self._seconds)
                    if self._unsent.is_full:
                        late = PredictTimeout(f"The client has not read {UNSENT_BYTES} bytes in {self._seconds:g} s.")
                        await self._unsent.wait_for_room()
                        late = predict_timeout(self._seconds)
                        deadline.reschedule(clock() + self._seconds)
                    chunk = await anext(self._chunks, None)
        except TimeoutError as slow:
            raise late from slow


def _body(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}
