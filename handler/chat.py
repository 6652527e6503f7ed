"""The sentence: read the request, load its images, run the model, answer."""

from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Any

from handler.engine import Embeds, Message, Prompt, PromptImage
from handler.errors import InvalidRequest
from handler.model import Model
from handler.payload.chat import ChatMessage, ChatRequest, chat_request
from handler.payload.parts import ImagePart, Part, TextPart
from handler.placement import place_images
from handler.sessions import Session


class Chat:
    """Chat completions of one model."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def read(self, payload: Mapping[str, Any], adapter: str | None = None) -> ChatRequest:
        """The request in `payload`, for the adapter that its header names. Raises RequestError."""
        request = chat_request(payload, self._model.card.parameters, adapter)
        self._model.admit(request)
        if not self._model.card.supports_images and (embeds := next(request.embeds(), None)):
            raise InvalidRequest("The model reads text only, no features of images.", param=embeds.path)
        token = self._model.placeholder_token
        return place_images(request, token, self._model.placeholder_repeats) if token else request

    async def complete(self, request: ChatRequest, request_id: str, session: Session | None = None) -> bytes:
        """The chat completion as JSON text."""
        return await self._model.complete(await self.prompt(request, request_id, session))

    def stream(
        self, request: ChatRequest, request_id: str, session: Session | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The chunks of the chat completion, each as JSON text; closing the generator aborts the request."""
        return self._model.stream(lambda: self.prompt(request, request_id, session))

    async def prompt(self, request: ChatRequest, request_id: str, session: Session | None = None) -> Prompt:
        """What the engine runs: the request with its images loaded, which are then to be released."""
        images = iter(await self._model.shown(request.images(), session))
        messages = tuple(_message(message, images) for message in request.messages)
        return Prompt(messages, self._model.name_of(request), request.parameters, request_id, request.stream)


def _message(message: ChatMessage, images: Iterator[PromptImage]) -> Message:
    content = message.content
    if isinstance(content, tuple):
        return Message(message.role, tuple(_part(part, images) for part in content), message.fields)
    return Message(message.role, content, message.fields)


def _part(part: Part, images: Iterator[PromptImage]) -> str | PromptImage | Embeds:
    if isinstance(part, ImagePart):
        return next(images)
    return part.text if isinstance(part, TextPart) else Embeds(part.data, part.path)
