"""A served model: any payload becomes the request of one schema, and that request a response."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from handler.adapters.registry import Adapters
from handler.chat import Chat
from handler.completion import Completions
from handler.djl.code_handler import CodeHandler
from handler.djl.formatter_registry import FormatterPair, FormatterRegistry
from handler.djl.formatters import Formatters
from handler.engine import Engine
from handler.errors import InvalidRequest
from handler.generation import Generation, named_as_sent
from handler.image_placeholders import ImagePlaceholders
from handler.images import Images, RequestContext
from handler.openai.responses import Responses
from handler.payload.requests import ChatBatch, ChatRequest, CompletionRequest, GenerationRequest
from handler.sessions import Session, Sessions
from handler.tokens import Tokens
from handler.turns import Turns, batch_for_turns

StreamableRequest = ChatRequest | CompletionRequest | GenerationRequest
Request = StreamableRequest | ChatBatch


class Service:
    """Everything that one engine serves.

    `always_list` is `tgi_compat`; `formatters` are the user's own, for requests and responses.
    """

    def __init__(
        self,
        engine: Engine,
        images: Images,
        adapters: Adapters,
        *,
        sessions: Sessions | None = None,
        placeholders: ImagePlaceholders | None = None,
        always_list: bool = False,
        formatters: FormatterRegistry | None = None,
    ) -> None:
        placeholders, turns = placeholders or ImagePlaceholders(), Turns(batch_for_turns(engine.card))
        self.card = engine.card
        self.adapters = adapters
        self.sessions = sessions
        self.named_images = images.named
        self._formatters = formatters
        self._chat = Chat(engine, images, adapters, placeholders, turns)
        self._completions = Completions(engine, images, adapters, placeholders, turns)
        self._responses = Responses(engine)
        self._generation = Generation(engine, self._completions, always_list=always_list)
        self.tokens = Tokens(engine, self._chat, self._completions)

    def session(self, name: str | None) -> Session | None:
        """The open session `name`. Raises InvalidRequest if it is not open; None where sessions are disabled."""
        return self.sessions.find(name) if name and self.sessions is not None else None

    def formatters(self, payload: Mapping[str, Any], adapter: str | None) -> FormatterPair:
        """The user's own formatters for the adapter that a request or its header names. Raises InvalidRequest."""
        return FormatterPair() if self._formatters is None else self._formatters.choose(payload, adapter)

    @property
    def handler(self) -> CodeHandler | None:
        """The user's own handler, which is asked before the engine."""
        return None if self._formatters is None else self._formatters.handler

    @property
    def has_guards(self) -> bool:
        """Whether there is code that is to see every request, one at a time."""
        return self._formatters is not None and self._formatters.has_guards

    def parse(
        self, payload: Mapping[str, Any], adapter: str | None = None, *, any_model: bool = False
    ) -> StreamableRequest:
        """The request in `payload`, whatever route it came by, for the `adapter` that its header names. With `any_model` a
        `model` that is not served is ignored. Raises RequestError."""
        model = payload.get("model")
        if any_model and isinstance(model, str) and model and not self.adapters.serves(model):
            others = {name: value for name, value in payload.items() if name != "model"}
            request = self.parse(others, adapter)
            return replace(request, ignored=("model", *request.ignored))
        # Some clients send all fields that they know, null where they are unused.
        fields = [name for name in payload if payload[name] is not None] or list(payload)
        if "messages" in fields:
            return self._chat.parse(payload, adapter)
        if "prompt" in fields:
            return self._completions.parse(payload, adapter)
        if "inputs" in fields:
            return self._generation.parse(payload, adapter)
        if payload.get("requestType") is not None:
            raise InvalidRequest("Sessions are opened and closed on /invocations.", param="requestType")
        return self._chat.parse(payload, adapter)  # which reports the missing or misspelt field

    def parse_batch(self, payload: Mapping[str, Any], adapter: str | None = None) -> ChatBatch:
        """The chats in `payload`, whose `messages` are a list of conversations. Raises RequestError."""
        return self._chat.parse_batch(payload, adapter)

    async def complete(self, request: Request, context: RequestContext, formatters: Formatters | None = None) -> bytes:
        """The response as JSON text, or as the output formatter of `formatters` writes it. Raises RequestError or
        ServerError. Cancelling it aborts the request."""
        match request:
            case ChatRequest():
                response = await self._responses.complete([self._chat.prompt(request, context)])
            case ChatBatch():
                response = await self._responses.complete(self._chat.prompts(request, context))
            case CompletionRequest():
                response = await self._responses.complete(self._completions.slices(request, context, size=1))
            case GenerationRequest() if formatters is not None:  # which takes vLLM's completion, as in LMI
                completion = self._generation.completion(request)
                with named_as_sent(request.fields):
                    response = await self._responses.complete(self._completions.slices(completion, context, size=1))
            case GenerationRequest():
                response = await self._generation.complete(request, context)
        return response if formatters is None else await formatters.format_response(response, context.id)

    def stream(
        self, request: StreamableRequest, context: RequestContext, formatters: Formatters | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The chunks of the response, each as JSON text, or as the output formatter writes it. Raises as `complete` does,
        before the first chunk or later. Closing the generator aborts the request."""
        match request:
            case ChatRequest():
                chunks = self._responses.stream([self._chat.prompt(request, context)])
            case CompletionRequest():
                chunks = self._responses.stream(self._completions.slices(request, context))
            case GenerationRequest() if formatters is not None:
                chunks = self._stream_completion(request, context)
            case GenerationRequest():
                chunks = self._generation.stream(request, context)
        return chunks if formatters is None else formatters.stream(chunks, context.id)

    async def _stream_completion(
        self, request: GenerationRequest, context: RequestContext
    ) -> AsyncGenerator[bytes, None]:
        completion = self._generation.completion(request)
        with named_as_sent(request.fields):
            async with aclosing(self._responses.stream(self._completions.slices(completion, context))) as chunks:
                async for chunk in chunks:
                    yield chunk
