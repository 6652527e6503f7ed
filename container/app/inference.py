"""The routes that ask the model: a request is read, run within its time, and answered whole or as a stream."""

import asyncio
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from container import framing
from container.app.body import read_body
from container.app.statuses import error_body
from container.edge import exchange
from container.health import Health
from container.streaming import StreamedAnswer, while_connected, within
from handler.chat import Chat
from handler.errors import InvalidRequest
from handler.payload import ChatRequest

SMALL_BODY_BYTES = 2**18
ADAPTER_HEADER = "x-amzn-sagemaker-adapter-identifier"
FOREIGN_BODIES = ("image/", "audio/", "video/", "multipart/", "text/csv")


@dataclass(frozen=True, slots=True)
class Serving:
    """What the routes need of the options: sizes in bytes, times in seconds."""

    request_bytes: int
    predict_seconds: float
    batch_size: int
    output_formatter: str | None = None
    lmi_errors: bool = False


class Inference:
    """The endpoint behind every route that asks the model; `health` says who answers."""

    def __init__(self, health: Health, serving: Serving) -> None:
        self._health = health
        self._serving = serving

    async def infer(self, request: Request) -> Response:
        """Answer a chat completion."""
        chat = self._health.chat()
        if request.headers.get(ADAPTER_HEADER):
            raise InvalidRequest(f"LoRA adapters are not served here; leave the header {ADAPTER_HEADER} out.")
        content_type = request.headers.get("content-type", "").lower()
        if content_type.startswith(FOREIGN_BODIES):
            raise InvalidRequest(f"The content type is {content_type}; send application/json.", code="content_type")
        asked = await self._read(chat, await read_body(request, self._serving.request_bytes))
        one = exchange(request.scope)
        one.ignored = asked.ignored
        if asked.stream:
            return await self._stream(request, chat, asked)
        answer = await within(
            self._serving.predict_seconds, while_connected(request.receive, chat.complete(asked, one.id))
        )
        return Response(answer + b"\n", media_type="application/json")

    async def _stream(self, request: Request, chat: Chat, asked: ChatRequest) -> Response:
        seconds = self._serving.predict_seconds
        frames = framing.choose(
            openai=request.url.path.startswith("/v1/"),
            accept=request.headers.get("accept", ""),
            formatter=self._serving.output_formatter,
        )
        chunks = chat.stream(asked, exchange(request.scope).id)
        try:
            first = await within(seconds, while_connected(request.receive, anext(chunks, None)))
        except BaseException:
            await chunks.aclose()
            raise
        return StreamedAnswer(first, chunks, framing=frames, seconds=seconds, error_body=error_body)

    @staticmethod
    async def _read(chat: Chat, body: bytes) -> ChatRequest:
        # Beside the loop, a body of many messages shares the interpreter with it; for a small one the hop costs more.
        return chat.read(body) if len(body) < SMALL_BODY_BYTES else await asyncio.to_thread(chat.read, body)
