"""What a loaded model answers: a payload's schema decides which sentence it goes through."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from handler.adapters.registry import Adapters
from handler.chat import Chat
from handler.completion import Completions
from handler.djl.formatters import Formatters
from handler.errors import InvalidRequest
from handler.generation import Generation
from handler.model import Model
from handler.sessions import Session
from handler.tokens import Tokens


class Sentence(Protocol):
    """A schema's way from request to answer."""

    def read(self, payload: Mapping[str, Any], adapter: str | None = None) -> Any: ...

    async def complete(self, request: Any, request_id: str, session: Session | None = None) -> bytes: ...

    def stream(self, request: Any, request_id: str, session: Session | None = None) -> AsyncGenerator[bytes, None]: ...


@dataclass(frozen=True, slots=True)
class Task:
    """A request, the sentence that answers it, and the session that it is part of."""

    sentence: Sentence
    asked: Any
    session: Session | None = None

    @property
    def stream(self) -> bool:
        return bool(self.asked.stream)

    @property
    def ignored(self) -> tuple[str, ...]:
        return tuple(self.asked.ignored)

    @property
    def generates(self) -> bool:
        """Whether the answer is of the text-generation schema."""
        return isinstance(self.sentence, Generation)

    async def complete(self, request_id: str) -> bytes:
        """The answer as JSON text. Raises RequestError or ServerError; cancelling it aborts the request."""
        return await self.sentence.complete(self.asked, request_id, self.session)

    def chunks(self, request_id: str) -> AsyncGenerator[bytes, None]:
        """The answer in pieces, each as JSON text; closing the generator aborts the request."""
        return self.sentence.stream(self.asked, request_id, self.session)


class Service:
    """Everything that one model answers. `listed_generation` is `tgi_compat`; `formatters` are the user's own, for those
    who hand payloads in and answers out."""

    def __init__(
        self,
        model: Model,
        adapters: Adapters | None = None,
        *,
        listed_generation: bool = False,
        formatters: Formatters | None = None,
    ) -> None:
        self.formatters = formatters
        self.card = model.card
        self.adapters = adapters or Adapters(model.engine, model.card.names)
        self.sessions = model.sessions
        self.chat = Chat(model)
        self.completions = Completions(model)
        self.tokens = Tokens(model, self.chat, self.completions)
        self.generation = Generation(model, self.completions, listed=listed_generation)

    def session(self, name: str | None) -> Session | None:
        """The open session of that name. Raises InvalidRequest where it is not open; sessions may be off altogether."""
        return self.sessions.find(name) if name and self.sessions is not None else None

    def read(self, payload: Mapping[str, Any], session: Session | None = None, adapter: str | None = None) -> Task:
        """The task that `payload` asks for, whatever route it came by, with the `adapter` that its header names.
        Raises RequestError."""
        schemas: tuple[tuple[str, Sentence], ...] = (
            ("messages", self.chat),
            ("prompt", self.completions),
            ("inputs", self.generation),
        )
        # Clients that write all the fields they know send null for the others; where all is null, that is the fault.
        there = [field for field in payload if payload[field] is not None] or list(payload)
        named = [sentence for field, sentence in schemas if field in there]
        if named:
            return Task(named[0], named[0].read(payload, adapter), session)
        if payload.get("requestType") is not None:
            raise InvalidRequest("Sessions are opened and closed on /invocations.", param="requestType")
        return Task(self.chat, self.chat.read(payload, adapter), session)  # which says what is missing, or misspelt
