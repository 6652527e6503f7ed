"""The routes that run the model: read the request, run it within its time, respond whole or with a stream."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from container.http.exchange import Exchange, client_of
from container.http.framing import choose_framing
from container.http.health import Health
from container.http.json_lines import CONTENT_TYPE as JSON_LINES
from container.http.json_lines import answer_lines, ignored_in, parse_lines
from container.http.models import Models
from container.http.streaming import StreamedResponse, read_body, run_for_client
from container.http.user_code import call_handler, call_model, call_of
from handler.djl.own_model import OwnModel
from handler.errors import InvalidRequest
from handler.images import RequestContext
from handler.payload.adapter_choice import HEADER as ADAPTER_HEADER
from handler.payload.body import decode_body, json_lines, json_object
from handler.payload.requests import GenerationRequest
from handler.service import Service, StreamableRequest
from handler.sessions import NEW_SESSION, SessionResponse, open_or_close, open_session
from handler.turns import Source

T = TypeVar("T")

SMALL_BODY_BYTES = 2**16
SESSION_HEADER = "x-amzn-sagemaker-session-id"
# LMI's pagination of responses: serving/docs/streaming.md in djl-serving d21927c4 (2026-06-24)
SYNCHRONOUS_HEADER, TOKEN_HEADER = "x-synchronous", "x-starting-token"
QUESTION_HEADER = "x-lumi-question"  # the question about a body that is an image


@dataclass(frozen=True, slots=True)
class Serving:
    """What the routes need of the options: sizes in bytes, times in seconds. `management` is whether requests may change the
    server, `platform_adapters` whether SageMaker, which alone reaches the port, may register adapters."""

    request_bytes: int
    predict_seconds: float
    output_formatter: str | None = None
    lmi_errors: bool = False
    tgi: bool = False
    management: bool = False
    platform_adapters: bool = False
    api_key: str | None = field(default=None, repr=False)
    public_metrics: bool = False


class Inference:
    """The endpoints. `health` knows the service that responds."""

    def __init__(self, health: Health, serving: Serving, models: Models) -> None:
        self._health = health
        self._serving = serving
        self._models = models

    async def infer_named(self, request: Request, exchange: Exchange) -> Response:
        """Respond to a request whose path has the name of the model."""
        self._models.check_name(request.path_params["model"])
        return await self.infer(request, exchange)

    async def infer(self, request: Request, exchange: Exchange) -> Response:
        """Respond to a request of any schema."""
        if request.headers.get(SYNCHRONOUS_HEADER, "").lower() == "false" or TOKEN_HEADER in request.headers:
            raise InvalidRequest(
                f"{SYNCHRONOUS_HEADER} and {TOKEN_HEADER} ask for LMI's cache of responses, which is not available here. Send "
                "the request without them, with `stream` if the response should come in pieces.",
                param=SYNCHRONOUS_HEADER,
            )
        service = self._health.service()
        body = await read_body(request, self._serving.request_bytes, exchange)
        seconds = self._serving.predict_seconds
        call = partial(call_of, request, body, exchange.id)
        if isinstance(service, OwnModel):
            return await call_model(service, call(), request, seconds)
        if service.handler is not None:
            response = await call_handler(service.handler, call(), request, seconds)
            if response is not None:
                return response
        lines = await _off_loop(lambda: json_lines(body, request.headers.get("content-type", "")), body)
        if lines and not _reads_raw_request(service, request):
            return await self._infer_lines(service, lines, request, exchange)
        payload = await self._decode(service, request, body)
        name = request.headers.get(SESSION_HEADER)
        if payload.get("requestType") is not None and not request.url.path.startswith("/v1/"):
            return _session_response(
                open_or_close(service.sessions, payload["requestType"], name, client_of(request.scope))
            )
        adapter = request.headers.get(ADAPTER_HEADER)
        if (formatter := service.formatters(payload, adapter).input) is not None:
            payload = await run_for_client(request.receive, formatter.payload(payload, call()), seconds)
        formatter = service.formatters(payload, adapter).output
        parsed = await _off_loop(lambda: _parse(service, request, payload), body)
        exchange.ignored = parsed.ignored
        context = _context(service, request, exchange)
        if parsed.stream:
            chunks = service.stream(parsed, context, formatter)
            return await self._stream(request, parsed, chunks, is_formatted=formatter is not None)
        return await self._respond(request, service.complete(parsed, context, formatter))

    async def _infer_lines(
        self, service: Service, lines: list[bytes], request: Request, exchange: Exchange
    ) -> Response:
        if service.has_guards:  # which might let a line pass that they do not see
            raise InvalidRequest(
                "The model.py here, or that of an adapter, takes one request at a time. Send each line alone."
            )
        parsed = await asyncio.to_thread(lambda: parse_lines(lines, lambda one: _parse(service, request, one)))
        exchange.ignored = ignored_in(parsed)
        formatter = service.formatters({}, None).output
        answer = partial(service.complete, formatters=formatter)
        work = answer_lines(answer, parsed, _context(service, request, exchange))
        return await self._respond(request, work, JSON_LINES)

    async def infer_batch(self, request: Request, exchange: Exchange) -> Response:
        """Respond to several chats with one completion."""
        service, adapter = self._engine_service(), request.headers.get(ADAPTER_HEADER)
        if service.has_guards or service.formatters({}, None).output is not None:
            raise InvalidRequest("The model.py here takes one chat at a time. POST each to /v1/chat/completions.")
        body = await read_body(request, self._serving.request_bytes, exchange)
        parsed = await _off_loop(lambda: service.parse_batch(json_object(body), adapter), body)
        exchange.ignored = parsed.ignored
        return await self._respond(request, service.complete(parsed, _context(service, request, exchange)))

    async def tokenize(self, request: Request, exchange: Exchange) -> Response:
        """Respond with the tokens of a prompt."""
        service, adapter = self._engine_service(), request.headers.get(ADAPTER_HEADER)
        body = await read_body(request, self._serving.request_bytes, exchange)
        payload = await _off_loop(lambda: json_object(body), body)
        strings = service.tokens.wants_strings(payload)
        parsed = await _off_loop(lambda: service.tokens.parse(payload, adapter), body)
        exchange.ignored = parsed.ignored
        context = _context(service, request, exchange)
        return await self._respond(request, service.tokens.tokenize(parsed, context, strings=strings))

    async def detokenize(self, request: Request, exchange: Exchange) -> Response:
        """Respond with the text of tokens."""
        tokens = self._engine_service().tokens
        body = await read_body(request, self._serving.request_bytes, exchange)
        ids = await _off_loop(lambda: tokens.token_ids(json_object(body)), body)
        return await self._respond(request, tokens.detokenize(ids))

    def _engine_service(self) -> Service:
        service = self._health.service()
        if isinstance(service, OwnModel):
            raise InvalidRequest(
                "The model's own code responds here; this route needs an engine. POST to /invocations."
            )
        return service

    async def _decode(self, service: Service, request: Request, body: bytes) -> Mapping[str, Any]:
        kind, header = request.headers.get("content-type", ""), request.headers.get(QUESTION_HEADER)
        question = None if header is None else _decode_header(header)
        try:
            return await _off_loop(lambda: decode_body(body, kind, request.url.query, question), body)
        except InvalidRequest:
            if not _reads_raw_request(service, request):
                raise
            return {}  # the formatter reads the body itself

    async def _respond(
        self, request: Request, work: Coroutine[Any, Any, bytes], content_type: str = "application/json"
    ) -> Response:
        text = await run_for_client(request.receive, work, self._serving.predict_seconds)
        return Response(text + b"\n", media_type=content_type)

    async def _stream(
        self, request: Request, parsed: StreamableRequest, chunks: AsyncGenerator[bytes, None], *, is_formatted: bool
    ) -> Response:
        seconds = self._serving.predict_seconds
        framing = choose_framing(
            openai=request.url.path.startswith("/v1/"),
            accept=request.headers.get("accept", ""),
            formatter=self._serving.output_formatter,
            tgi=self._serving.tgi and isinstance(parsed, GenerationRequest),
            raw=is_formatted,
        )
        try:
            first = await run_for_client(request.receive, anext(chunks, None), seconds)
        except BaseException:
            await chunks.aclose()
            raise
        return StreamedResponse(first, chunks, framing=framing, seconds=seconds)


def _reads_raw_request(service: Service, request: Request) -> bool:
    """Whether an input formatter reads the body itself; of adapters, that of the one that the header names."""
    formatter = service.formatters({}, request.headers.get(ADAPTER_HEADER)).input
    return formatter is not None and formatter.reads_raw_request


def _parse(service: Service, request: Request, payload: Mapping[str, Any]) -> StreamableRequest:
    # vLLM's SageMaker route ignores `model` (model_hosting_container_standards 0.1.16, inject_to_body.py, 2026-11-22), and
    # clients such as litellm write the endpoint's name there.
    any_model = not request.url.path.startswith("/v1/")
    return service.parse(payload, request.headers.get(ADAPTER_HEADER), any_model=any_model)


def _context(service: Service, request: Request, exchange: Exchange) -> RequestContext:
    """The context of a request whose body is valid; a session is opened for it if its header asks for a new one."""
    client, name = client_of(request.scope), request.headers.get(SESSION_HEADER)
    if name == NEW_SESSION and service.sessions is not None:
        opened = open_session(service.sessions, client)
        name, exchange.session_headers = opened.body["sessionId"], opened.headers
    return RequestContext(exchange.id, service.session(name), Source(client, exchange.id))


async def _off_loop(work: Callable[[], T], body: bytes) -> T:
    # In a thread, the event loop goes on beside a large body; for a small one the thread costs more than the work.
    return work() if len(body) < SMALL_BODY_BYTES else await asyncio.to_thread(work)


def _decode_header(header: str) -> str:
    """The text of a header: UTF-8, as curl and browsers send it, or else Latin-1, as HTTP says."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeDecodeError:
        return header


def _session_response(response: SessionResponse) -> Response:
    body = json.dumps(response.body).encode() + b"\n"
    return Response(body, media_type="application/json", headers=dict(response.headers))
