"""The routes that ask the model: a request is read, run within its time, and answered whole or as a stream."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from container.http import framing
from container.http.body import read_body
from container.http.edge import exchange
from container.http.health import Health
from container.http.models import Models
from container.http.statuses import error_body
from container.http.streaming import StreamedAnswer, while_connected, within
from container.http.user_code import call_of, called
from handler.djl.formatters import Formatted
from handler.djl.own_model import OwnModel
from handler.errors import InvalidRequest
from handler.payload import adapter_choice as adapters
from handler.payload.document import json_object
from handler.payload.encodings import decoded
from handler.service import Service, Task
from handler.sessions import SessionAnswer, answer

T = TypeVar("T")

SMALL_BODY_BYTES = 2**18
SESSION_HEADER = "x-amzn-sagemaker-session-id"
QUESTION_HEADER = "x-lumi-question"  # what is asked about a body that is an image


@dataclass(frozen=True, slots=True)
class Serving:
    """What the routes need of the options: sizes in bytes, times in seconds."""

    request_bytes: int
    predict_seconds: float
    batch_size: int
    output_formatter: str | None = None
    lmi_errors: bool = False
    tgi: bool = False
    management: bool = False
    api_key: str | None = field(default=None, repr=False)


class Inference:
    """The endpoints behind every route that asks the model; `health` says who answers."""

    def __init__(self, health: Health, serving: Serving, models: Models) -> None:
        self._health = health
        self._serving = serving
        self._models = models

    async def infer_named(self, request: Request) -> Response:
        """Answer a request whose path names the model."""
        self._models.check_name(request.path_params["model"])
        return await self.infer(request)

    async def infer(self, request: Request) -> Response:
        """Answer a request of any schema."""
        service = self._health.service()
        if isinstance(service, OwnModel):
            return await called(service, request, self._serving.request_bytes, self._serving.predict_seconds)
        found = await self._read(service, request)
        if isinstance(found, SessionAnswer):
            return Response(_line(found.body), media_type="application/json", headers=dict(found.headers))
        one = exchange(request.scope)
        one.ignored = found.ignored
        if found.stream:
            return await self._stream(request, found)
        answered = await self._within(request, found.complete(one.id))
        return Response(answered + b"\n", media_type="application/json")

    async def tokenize(self, request: Request) -> Response:
        """Answer with the tokens of a prompt."""
        service, one, headers = self._vllm(), exchange(request.scope), request.headers
        payload = json_object(await read_body(request, self._serving.request_bytes))
        session = service.session(headers.get(SESSION_HEADER))
        asked = service.tokens.read(payload, headers.get(adapters.HEADER))
        one.ignored = asked.ignored
        answered = await self._within(request, service.tokens.tokenize(asked, one.id, session))
        return Response(answered + b"\n", media_type="application/json")

    async def detokenize(self, request: Request) -> Response:
        """Answer with the text of tokens."""
        tokens = self._vllm().tokens
        payload = json_object(await read_body(request, self._serving.request_bytes))
        answered = await self._within(request, tokens.detokenize(payload))
        return Response(answered + b"\n", media_type="application/json")

    def _vllm(self) -> Service:
        service = self._health.service()
        if isinstance(service, OwnModel):
            raise InvalidRequest("The model's own code answers here; its tokens are not known to the server.")
        return service

    async def _within(self, request: Request, work: Coroutine[Any, Any, bytes]) -> bytes:
        return await within(self._serving.predict_seconds, while_connected(request.receive, work))

    async def _stream(self, request: Request, task: Task | Formatted) -> Response:
        seconds = self._serving.predict_seconds
        frames = framing.choose(
            openai=request.url.path.startswith("/v1/"),
            accept=request.headers.get("accept", ""),
            formatter=self._serving.output_formatter,
            tgi=self._serving.tgi and task.generates,
            raw=isinstance(task, Formatted),
        )
        chunks = task.chunks(exchange(request.scope).id)
        try:
            first = await within(seconds, while_connected(request.receive, anext(chunks, None)))
        except BaseException:
            await chunks.aclose()
            raise
        return StreamedAnswer(first, chunks, framing=frames, seconds=seconds, error_body=error_body)

    async def _read(self, service: Service, request: Request) -> Task | Formatted | SessionAnswer:
        body = await read_body(request, self._serving.request_bytes)
        headers, formatters = request.headers, service.formatters
        small = len(body) < SMALL_BODY_BYTES
        kind, question = headers.get("content-type", ""), _text_of(headers.get(QUESTION_HEADER))
        try:
            payload = await _beside(lambda: decoded(body, kind, request.url.query, question), small=small)
        except InvalidRequest:
            if formatters is None or not formatters.reads_raw_request:
                raise
            payload = {}  # it reads the body itself
        name, adapter = headers.get(SESSION_HEADER), headers.get(adapters.HEADER)
        if payload.get("requestType") is not None and not request.url.path.startswith("/v1/"):
            return answer(service.sessions, payload["requestType"], name)
        if formatters is not None and formatters.formats_input:
            formatting = formatters.payload(payload, call_of(request, body))
            payload = await within(self._serving.predict_seconds, while_connected(request.receive, formatting))
        session = service.session(name)
        task = await _beside(lambda: service.read(payload, session, adapter), small=small)
        return Formatted(task, formatters) if formatters is not None and formatters.formats_output else task


async def _beside(work: Callable[[], T], *, small: bool) -> T:
    # Beside the loop, a body of many messages shares the interpreter with it; for a small one the hop costs more.
    return work() if small else await asyncio.to_thread(work)


def _text_of(header: str | None) -> str | None:
    """What a client wrote: UTF-8 as curl and browsers send it, where it is that, else Latin-1 as HTTP has it."""
    if header is None or header.isascii():
        return header
    try:
        return header.encode("latin-1").decode()
    except UnicodeDecodeError:
        return header


def _line(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body).encode() + b"\n"
