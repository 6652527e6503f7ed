"""Chat completions: the payload becomes a request, and that a prompt with its images loaded."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

from handler.adapters.registry import Adapters
from handler.engine import ChatPrompt, Engine, ImageEmbeds, Message, ModelCard, PromptImage
from handler.errors import InvalidRequest
from handler.image_placeholders import ImagePlaceholders
from handler.images import Images, RequestContext
from handler.payload.chat import parse_chat_batch, parse_chat_request
from handler.payload.parts import ImagePart, TextPart
from handler.payload.requests import ChatBatch, ChatMessage, ChatRequest
from handler.prompt_length import check_length, texts_in
from handler.turns import Turns, sequence_count


class Chat:
    """The chat completions of one engine."""

    def __init__(
        self, engine: Engine, images: Images, adapters: Adapters, placeholders: ImagePlaceholders, turns: Turns
    ) -> None:
        self._engine = engine
        self._images = images
        self._adapters = adapters
        self._turns = turns
        self._placeholders = placeholders

    def parse(self, payload: Mapping[str, Any], adapter: str | None = None) -> ChatRequest:
        """The request in `payload`, for the `adapter` that its header names. Raises RequestError."""
        card = self._check_chats()
        return self._resolve(parse_chat_request(payload, card.parameters, adapter, card.template_words), card)

    def parse_batch(self, payload: Mapping[str, Any], adapter: str | None = None) -> ChatBatch:
        """As `parse`, for a list of conversations."""
        card = self._check_chats()
        chats = parse_chat_batch(payload, card.parameters, adapter, card.template_words)
        return ChatBatch(tuple(self._resolve(chat, card) for chat in chats))

    def _check_chats(self) -> ModelCard:
        card = self._engine.card
        if not card.has_chat_template:
            raise InvalidRequest(
                f"The model {card.names[0]} has no chat template, as base models have none: send `prompt` or `inputs`. "
                "If it is to chat, its operator sets OPTION_CHAT_TEMPLATE.",
                param="messages",
            )
        return card

    def _resolve(self, request: ChatRequest, card: ModelCard) -> ChatRequest:
        check_length(_texts(request), card, "messages", request.parameters)
        self._turns.check(request.parameters)
        model = self._adapters.resolve(request.model, request.adapter, has_images=bool(request.images()))
        self._images.check(tuple(request.media()))
        return self._placeholders.place_in_chat(replace(request, model=model))

    def prompts(self, batch: ChatBatch, context: RequestContext) -> Iterator[AbstractAsyncContextManager[ChatPrompt]]:
        """The prompts for the engine, of which each takes a turn of its own."""
        for i, chat in enumerate(batch.chats):
            yield self.prompt(chat, replace(context, id=f"{context.id}-{i}") if i else context)

    @asynccontextmanager
    async def prompt(self, request: ChatRequest, context: RequestContext) -> AsyncIterator[ChatPrompt]:
        """The prompt for the engine when it is its turn, with images that are loaded for as long as the block lasts."""
        async with (
            self._turns.turn(context.source, sequence_count(request.parameters)),
            self._images.load_images(request.images(), context) as images,
        ):
            loaded = iter(images)
            yield ChatPrompt(
                messages=[_message(message, loaded) for message in request.messages],
                model=request.model,
                parameters=request.parameters,
                request_id=context.id,
                client=context.source.client,
                stream=request.stream,
                images=images,
            )


def _texts(request: ChatRequest) -> Iterator[str]:
    """All that a chat template may print."""
    for message in request.messages:
        if isinstance(message.content, str):
            yield message.content
        else:
            for part in message.content or ():
                yield from (part.text,) if isinstance(part, TextPart) else ()
                yield from texts_in(part.fields)
        yield from texts_in(message.fields)
    for name in ("tools", "documents", "chat_template_kwargs"):
        yield from texts_in(request.parameters.get(name))


def _message(message: ChatMessage, loaded: Iterator[PromptImage]) -> Message:
    content = message.content
    if content is None or isinstance(content, str):
        return Message(message.role, content, message.fields)
    parts: list[str | PromptImage | ImageEmbeds] = []
    for part in content:
        if isinstance(part, ImagePart):
            parts.append(next(loaded))
        else:
            parts.append(part.text if isinstance(part, TextPart) else ImageEmbeds(part.data, part.path))
    part_fields = {i: part.fields for i, part in enumerate(content) if part.fields}
    return Message(message.role, tuple(parts), message.fields, part_fields)
