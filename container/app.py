"""Routes, the body limit, and the table from error to status: the one place that says HTTP statuses."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from container import framing
from container.admission import Admission
from container.edge import Edge, exchange
from container.health import Health, Phase
from container.metrics import Metrics
from container.streaming import StreamedAnswer, while_connected, within
from handler import errors
from handler.chat import Chat
from handler.errors import BodyTooLarge, InvalidRequest, LumiError, RequestError, ServerError
from handler.payload import ChatRequest

STATUS: dict[type[LumiError], int] = {
    errors.InvalidRequest: 400,
    errors.UnknownModel: 404,
    errors.BodyTooLarge: 413,
    errors.MediaInvalid: 400,
    errors.MediaTooLarge: 400,
    errors.MediaForbidden: 400,
    errors.MediaUnreachable: 422,  # as vLLM's own server answers when what a request names cannot be fetched
    errors.ServerError: 500,
    errors.Unavailable: 503,
    errors.PredictTimeout: 504,
    errors.EngineDead: 500,
    errors.EngineFailure: 500,
}
LMI_STATUS = 424  # LMI's answer on /invocations to every fault of the client; only with OPTION_ERROR_COMPAT=lmi
BODY_SECONDS = 120  # LMI's chunked_read_timeout; here for the whole body, since a permit is held meanwhile
SMALL_BODY_BYTES = 2**18
ADAPTER_HEADER = "x-amzn-sagemaker-adapter-identifier"
WORK = frozenset({"/invocations", "/v1/chat/completions"})
FOREIGN_BODIES = ("image/", "audio/", "video/", "multipart/", "text/csv")


@dataclass(frozen=True, slots=True)
class Serving:
    """What the routes need of the options: sizes in bytes, times in seconds."""

    request_bytes: int
    predict_seconds: float
    batch_size: int
    output_formatter: str | None = None
    lmi_errors: bool = False


class App:
    """The routes; `health` says who answers."""

    def __init__(self, health: Health, admission: Admission, metrics: Metrics, serving: Serving) -> None:
        self._health = health
        self._admission = admission
        self._metrics = metrics
        self._serving = serving

    def asgi(self) -> Starlette:
        """The ASGI application."""
        routes = [
            Route("/v1/chat/completions", self._chat_completions, methods=["POST"]),
            Route("/invocations", self._chat_completions, methods=["POST"]),  # SageMaker's name for it
            Route("/v1/models", self._models, methods=["GET"]),
            Route("/ping", self._ping, methods=["GET", "POST"]),
            Route("/health", self._ping, methods=["GET"]),
            Route("/metrics", self._exposition, methods=["GET"]),
        ]
        edge = Middleware(
            Edge,
            admission=self._admission,
            metrics=self._metrics,
            batch_size=self._serving.batch_size,
            work=WORK,
            routes=frozenset(route.path for route in routes),
            answer=self._answer,
        )
        starlette = Starlette(routes=routes, middleware=[edge], exception_handlers={HTTPException: _unrouted})
        starlette.router.redirect_slashes = False  # a redirect would be built from the client's Host header
        return starlette

    async def _chat_completions(self, request: Request) -> Response:
        chat = self._health.chat()
        if request.headers.get(ADAPTER_HEADER):
            raise InvalidRequest(f"LoRA adapters are not served here; leave the header {ADAPTER_HEADER} out.")
        asked = await self._read(chat, await self._body(request))
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
        return StreamedAnswer(first, chunks, framing=frames, seconds=seconds, error_body=_error_body)

    @staticmethod
    async def _read(chat: Chat, body: bytes) -> ChatRequest:
        # Beside the loop, a body of many messages shares the interpreter with it; for a small one the hop costs more.
        return chat.read(body) if len(body) < SMALL_BODY_BYTES else await asyncio.to_thread(chat.read, body)

    async def _models(self, _: Request) -> Response:
        card = self._health.chat().card
        models = [
            {
                "id": name,
                "object": "model",
                "created": card.created,
                "owned_by": "lumi",
                "root": card.names[0],
                "max_model_len": card.max_model_len,
            }
            for name in card.names
        ]
        return JSONResponse({"object": "list", "data": models})

    async def _ping(self, _: Request) -> Response:
        return JSONResponse(self._health.report(), status_code=200 if self._health.phase is Phase.READY else 503)

    async def _exposition(self, _: Request) -> Response:
        text, content_type = self._metrics.exposition()
        return Response(text, media_type=content_type)

    async def _body(self, request: Request) -> bytes:
        content_type = request.headers.get("content-type", "").lower()
        if content_type.startswith(FOREIGN_BODIES):
            raise InvalidRequest(f"The content type is {content_type}; send application/json.", code="content_type")
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self._serving.request_bytes:
            raise self._too_large()
        pieces: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for piece in request.stream():
                    size += len(piece)
                    if size > self._serving.request_bytes:
                        raise self._too_large()
                    pieces.append(piece)
        except TimeoutError as slow:
            raise InvalidRequest(f"The body was not complete after {BODY_SECONDS} s.", code="body_timeout") from slow
        return b"".join(pieces)

    def _too_large(self) -> BodyTooLarge:
        limit = self._serving.request_bytes
        return BodyTooLarge(f"The body is larger than {limit} bytes (OPTION_MAX_REQUEST_SIZE).")

    def _answer(self, error: LumiError, path: str) -> Response:
        status = STATUS[type(error)]
        content = json.loads(_error_body(error))
        if self._serving.lmi_errors and path == "/invocations" and isinstance(error, RequestError) and status != 413:
            status = LMI_STATUS
            content["code"] = LMI_STATUS
        headers = {}
        if isinstance(error, ServerError) and error.retry_after is not None:
            headers["retry-after"] = str(error.retry_after)
        if isinstance(error, BodyTooLarge):
            headers["connection"] = "close"  # the rest of the body is not worth reading
        return JSONResponse(content, status_code=status, headers=headers)


def _error_body(error: LumiError) -> bytes:
    """OpenAI's error object as JSON text."""
    fault = {
        "message": str(error),
        "type": "invalid_request_error" if isinstance(error, RequestError) else "server_error",
        "param": getattr(error, "param", None),
        "code": getattr(error, "code", None),
    }
    return json.dumps({"error": fault}).encode()


async def _unrouted(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  # what the handler is registered for
    messages = {
        404: f"There is no route {request.url.path}; POST /v1/chat/completions or /invocations.",
        405: f"{request.method} is not allowed on {request.url.path}.",
    }
    fault: dict[str, Any] = {
        "message": messages.get(error.status_code, error.detail),
        "type": "invalid_request_error",
        "param": None,
        "code": "not_found" if error.status_code == 404 else "method_not_allowed",
    }
    return JSONResponse({"error": fault}, status_code=error.status_code, headers=error.headers)
