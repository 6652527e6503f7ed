"""The sentence for raw prompts: read the request, load its images, let the model go on, answer."""

from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Any

from handler.engine import PromptImage, Text, TextPrompt
from handler.marks import marks_of, placed
from handler.model import Model
from handler.payload.completion import CompletionRequest, RawText, completion_request
from handler.payload.parts import ImagePart
from handler.sessions import Session


class Completions:
    """Text completions of one model, in OpenAI's schema."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._marks = marks_of(model.card.placeholder, model.placeholder_token, model.placeholder_repeats)

    def read(self, payload: Mapping[str, Any], adapter: str | None = None) -> CompletionRequest:
        """The request in `payload`, for the adapter that its header names. Raises RequestError."""
        request = completion_request(payload, self._model.card.text_parameters, adapter)
        self.admit(request)
        return request

    def admit(self, request: CompletionRequest) -> None:
        """Raises RequestError where the model cannot be asked this."""
        self._model.admit(request)
        for text in request.texts:
            if text.tokens is None:
                placed(text, self._marks)

    async def complete(self, request: CompletionRequest, request_id: str, session: Session | None = None) -> bytes:
        """The text completion as JSON text."""
        return await self._model.complete(await self.prompt(request, request_id, session))

    def stream(
        self, request: CompletionRequest, request_id: str, session: Session | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The chunks of the text completion, each as JSON text; closing the generator aborts the request."""
        return self._model.stream(lambda: self.prompt(request, request_id, session))

    async def prompt(self, request: CompletionRequest, request_id: str, session: Session | None = None) -> TextPrompt:
        """What the engine runs: the request with its images loaded, which are then to be released."""
        parts = list(request.images())
        images = dict(zip(map(id, parts), await self._model.shown(parts, session), strict=True))
        texts = tuple(self._text(text, images) for text in request.texts)
        name = self._model.name_of(request)
        return TextPrompt(texts, name, request.parameters, request_id, request.stream)

    def _text(self, text: RawText, images: Mapping[int, PromptImage]) -> Text:
        if text.tokens is not None:
            return Text(tokens=text.tokens)
        return Text(tuple(self._parts(text, images)))

    def _parts(self, text: RawText, images: Mapping[int, PromptImage]) -> Iterator[str | PromptImage]:
        for part in placed(text, self._marks):
            yield images[id(part)] if isinstance(part, ImagePart) else part
