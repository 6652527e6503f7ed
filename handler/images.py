"""The images of a request: loaded by media, or taken from the session; their pixels are freed when the request ends."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from handler.engine import Engine, PromptImage
from handler.errors import InvalidRequest, MediaInvalid
from handler.media.loader import MediaLoader
from handler.named_images import NamedImages
from handler.payload.parts import EmbedsPart, ImagePart
from handler.sessions import Session, Sessions, sha256
from handler.turns import Source


@dataclass(frozen=True, slots=True)
class RequestContext:
    """What comes with a request beside its payload: the id that the engine uses, the session that it belongs to, and where
    it takes its turn."""

    id: str
    session: Session | None = None
    source: Source = field(default_factory=Source)


class Images:
    """The images that `engine` is asked about. `sessions` is None where they are disabled."""

    def __init__(self, engine: Engine, media: MediaLoader, sessions: Sessions | None = None) -> None:
        self._engine = engine
        self._media = media
        self._sessions = sessions
        self.named = NamedImages()

    def check(self, parts: Sequence[ImagePart | EmbedsPart]) -> None:
        """Raises InvalidRequest if the model does not take the images of a prompt, or not so many."""
        card = self._engine.card
        if not card.supports_images and parts:
            raise InvalidRequest(f"The model {card.names[0]} reads text only, not images.", param=parts[0].path)
        if card.max_images is not None and len(parts) > card.max_images:
            raise InvalidRequest(
                f"The prompt has {len(parts)} images; the model {card.names[0]} takes {card.max_images} at most.",
                param=parts[card.max_images].path,
            )

    @asynccontextmanager
    async def load_images(
        self, parts: Sequence[ImagePart], context: RequestContext
    ) -> AsyncIterator[list[PromptImage]]:
        """The images, in order. The engine may free their pixels before; at the end of the block they are freed.

        Raises MediaError with the JSON path of the first image that cannot be loaded.
        """
        if not parts:
            yield []
            return
        # Behind a proxy all clients have its address; a session is one client's.
        owner = context.session.id if context.session is not None else context.source.client
        images = await self._media.load_images(
            [self._resolve(part, owner, context.session) for part in parts], self._engine.holds
        )
        try:
            for part, image in zip(parts, images, strict=True):
                if part.uuid is not None:
                    self.named.keep(owner, part.uuid, image.encoded)
            if self._sessions is not None and context.session is not None:
                digests = await asyncio.to_thread(lambda: [(sha256(image.encoded), image.encoded) for image in images])
                self._sessions.keep(context.session, digests)
            yield images
        finally:
            for image in images:
                image.release()

    def _resolve(self, part: ImagePart, owner: str, session: Session | None) -> ImagePart:
        """`part`, with its bytes if it refers to an image that was sent before. Raises MediaInvalid."""
        if part.url == "" and part.uuid is not None:
            if (encoded := self.named.find(owner, part.uuid)) is None:
                raise MediaInvalid(
                    "No image was sent under this `uuid`, or it is no longer kept; send it again.",
                    param=part.path,
                    code="media_not_named",
                )
            return replace(part, url=encoded)
        if part.session_digest is None:
            return part
        if self._sessions is None or session is None:
            raise MediaInvalid(
                "An image can be referred to by its hash in a session only; send the header "
                "X-Amzn-SageMaker-Session-Id.",
                param=part.path,
            )
        return self._sessions.resolve(part, session)
