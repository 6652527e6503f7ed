"""The sentence: parse the body, load its pictures, run the model, answer."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from handler.engine import Engine, ModelCard, Prompt
from handler.errors import InvalidRequest, UnknownModel
from handler.media.loader import MediaLoader
from handler.payload import ChatRequest, parse, short
from handler.placement import place_pictures


class Chat:
    """Chat completions of one model. `card` is what `engine.start` returned."""

    def __init__(
        self, engine: Engine, media: MediaLoader, card: ModelCard, *, image_placeholder_token: str | None = None
    ) -> None:
        self.card = card
        self._engine = engine
        self._media = media
        self._token = image_placeholder_token

    def read(self, body: bytes) -> ChatRequest:
        """The request in `body`. Raises RequestError."""
        request = parse(body, self.card.parameters)
        if request.model is not None and request.model not in self.card.names:
            served = ", ".join(self.card.names)
            raise UnknownModel(
                f"The model {short(request.model)!r} is not served here; this is {served}.", param="model"
            )
        if not self.card.supports_pictures and (picture := next(request.pictures(), None)):
            raise InvalidRequest(f"The model {self.card.names[0]} reads text only, not pictures.", param=picture.path)
        return place_pictures(request, self._token) if self._token else request

    async def complete(self, request: ChatRequest, request_id: str) -> bytes:
        """The chat completion as JSON text."""
        prompt = await self._prompt(request, request_id)
        try:
            return await self._engine.complete(prompt)
        finally:
            prompt.release_pictures()

    async def stream(self, request: ChatRequest, request_id: str) -> AsyncGenerator[bytes, None]:
        """The chunks of the chat completion, each as JSON text; closing the generator aborts the request."""
        prompt = await self._prompt(request, request_id)
        try:
            async with aclosing(self._engine.stream(prompt)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            prompt.release_pictures()

    async def _prompt(self, request: ChatRequest, request_id: str) -> Prompt:
        messages = await self._media.load(request, self._engine.holds)
        return Prompt(messages, request.model, request.parameters, request_id, request.stream)
