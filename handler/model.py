"""A loaded model: the engine that runs it, the media that it is shown, and what it may be asked."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass

from handler.adapters.registry import listed, unknown_adapter
from handler.engine import Engine, ModelCard, Prompt, PromptImage, TextPrompt
from handler.errors import InvalidRequest, UnknownModel
from handler.media.loader import MediaLoader
from handler.payload.adapter_choice import Choice
from handler.payload.chat import ChatRequest
from handler.payload.completion import CompletionRequest
from handler.payload.fields import short
from handler.payload.parts import ImagePart
from handler.sessions import Session, Sessions, named, sha256


@dataclass(frozen=True, slots=True)
class Model:
    """`card` is what `engine.start` returned; `placeholder_token` marks images in texts (`image_placeholder_token`),
    and so do `placeholder_repeats` of them side by side (`image_feature_size`). `image_adapter` answers requests with
    images that name no adapter, if it is served (`default_mm_loras`)."""

    engine: Engine
    media: MediaLoader
    card: ModelCard
    placeholder_token: str | None = None
    sessions: Sessions | None = None
    placeholder_repeats: int = 1
    image_adapter: str | None = None

    def admit(self, request: ChatRequest | CompletionRequest) -> None:
        """Raises UnknownModel or UnknownAdapter for a name that is not served, and InvalidRequest for two adapters at
        once or an image that cannot be seen."""
        self._admit_names(request.model, request.adapter)
        if not self.card.supports_images and (image := next(request.images(), None)):
            raise InvalidRequest(f"The model {self.card.names[0]} reads text only, not images.", param=image.path)

    def name_of(self, request: ChatRequest | CompletionRequest) -> str | None:
        """Whom the engine is to ask: the adapter that the request chooses, or the model by the name that it has there."""
        if request.adapter is not None:
            return request.adapter.name
        by_itself = self.image_adapter in self.engine.adapters and request.model in (None, *self.card.names)
        return self.image_adapter if by_itself and any(request.images()) else request.model

    def _admit_names(self, model: str | None, adapter: Choice | None) -> None:
        adapters = self.engine.adapters
        if adapter is not None and adapter.name not in adapters:
            raise unknown_adapter(adapter.name, adapters, adapter.path)
        if model is None or model in self.card.names:
            return
        if model not in adapters:
            served = listed((*self.card.names, *adapters))
            raise UnknownModel(f"The model {short(model)!r} is not served here; this is {served}.", param="model")
        if adapter is not None and adapter.name != model:
            raise InvalidRequest(
                f"`model` names the adapter {short(model)!r} and `{adapter.path}` names {short(adapter.name)!r}; "
                "send one of them.",
                param=adapter.path,
            )

    async def shown(self, parts: Iterable[ImagePart], session: Session | None = None) -> list[PromptImage]:
        """The images, loaded, and kept in the session if there is one. Raises MediaError with the JSON path of the
        first that cannot be loaded."""
        images = await self.media.images([named(part, self.sessions, session) for part in parts], self.engine.holds)
        if session is not None and self.sessions is not None and images:
            kept = await asyncio.to_thread(lambda: [(sha256(image.encoded), image.encoded) for image in images])
            self.sessions.keep(session, kept)
        return images

    async def complete(self, prompt: Prompt | TextPrompt) -> bytes:
        """What the engine answers; whatever comes of it, the pixels of the images may go then."""
        try:
            return await self.engine.complete(prompt)
        finally:
            prompt.release_images()

    async def stream(self, prompting: Callable[[], Awaitable[Prompt | TextPrompt]]) -> AsyncGenerator[bytes, None]:
        """The same in pieces, of the prompt that `prompting` makes. Closing the generator aborts the request."""
        prompt = await prompting()
        try:
            async with aclosing(self.engine.stream(prompt)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            prompt.release_images()
