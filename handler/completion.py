"""Text completions: the payload becomes a request, and that raw prompts with their images loaded."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

from handler.adapters.registry import Adapters
from handler.engine import Engine, PromptImage, Text, TextPrompt
from handler.image_placeholders import ImagePlaceholders, split_at_placeholders
from handler.images import Images, RequestContext
from handler.payload.completion import parse_completion_request
from handler.payload.parts import ImagePart
from handler.payload.requests import CompletionRequest, RawText
from handler.prompt_length import check_length
from handler.turns import Turns, sequence_count


class Completions:
    """The text completions of one engine, in OpenAI's schema."""

    def __init__(
        self, engine: Engine, images: Images, adapters: Adapters, placeholders: ImagePlaceholders, turns: Turns
    ) -> None:
        self._engine = engine
        self._images = images
        self._adapters = adapters
        self._turns = turns
        self._placeholder = placeholders.pattern(engine.card.placeholder)
        # A model without a placeholder places images itself, and its prompt begins with the text.
        self._after_image = "\n" if engine.card.placeholder else ""

    def parse(self, payload: Mapping[str, Any], adapter: str | None = None) -> CompletionRequest:
        """The request in `payload`, for the `adapter` that its header names. Raises RequestError."""
        return self.resolve(parse_completion_request(payload, self._engine.card.text_parameters, adapter))

    def resolve(self, request: CompletionRequest) -> CompletionRequest:
        """`request`, with the name of the model or adapter that responds. Raises RequestError."""
        self._turns.check(request.parameters)
        images = request.images()
        model = self._adapters.resolve(request.model, request.adapter, has_images=bool(images))
        for text in request.texts:
            check_length((text.text,), self._engine.card, text.path, request.parameters)
            self._images.check(text.images)
            if text.tokens is None:
                split_at_placeholders(text, self._placeholder)
        return replace(request, model=model)

    def slices(
        self, request: CompletionRequest, context: RequestContext, size: int = 0
    ) -> Iterator[AbstractAsyncContextManager[TextPrompt]]:
        """The prompts for the engine, of which each takes a turn of its own: of `size` texts, or of so many that a batch takes
        them."""
        # With `max_length` each prompt leaves its answer another number of tokens.
        size = 1 if "max_length" in request.parameters else size
        size = size or max(1, self._turns.batch // sequence_count(request.parameters))
        for start in range(0, len(request.texts), size):
            texts = request.texts[start : start + size]
            own = replace(context, id=f"{context.id}-{start}") if start else context
            yield self.prompt(replace(request, texts=texts), own)

    @asynccontextmanager
    async def prompt(self, request: CompletionRequest, context: RequestContext) -> AsyncIterator[TextPrompt]:
        """The prompt for the engine when it is its turn, with images that are loaded for as long as the block lasts."""
        parts = request.images()
        async with (
            self._turns.turn(context.source, len(request.texts) * sequence_count(request.parameters)),
            self._images.load_images(parts, context) as images,
        ):
            loaded = dict(zip(map(id, parts), images, strict=True))
            yield TextPrompt(
                texts=[self._text(text, loaded) for text in request.texts],
                model=request.model,
                parameters=request.parameters,
                request_id=context.id,
                client=context.source.client,
                stream=request.stream,
                images=images,
            )

    def _text(self, text: RawText, loaded: Mapping[int, PromptImage]) -> Text:
        if text.tokens is not None:
            return Text(tokens=text.tokens)
        parts = split_at_placeholders(text, self._placeholder, self._after_image)
        return Text(tuple(loaded[id(part)] if isinstance(part, ImagePart) else part for part in parts))
