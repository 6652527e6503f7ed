"""The seam: what an engine is, and the types that cross it. Nothing here knows which engine answers."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a prompt, within the limits, identified by its content.

    `image` has the size and mode of the upright RGB picture, but its pixels are decoded only when something asks for
    them (`image.load()`), which an engine that `holds` the digest never does. `digest` is a hex hash of the encoded
    bytes. `path` is the JSON path of the content part, for errors. `release` says that the engine has seen what it needs:
    the pixels, megabytes of them, may go while the answer is still being made. It may be called more than once.
    """

    image: Image
    encoded: bytes = field(repr=False)
    digest: str
    path: str
    release: Callable[[], None] = field(default=lambda: None, repr=False)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn: its role, its content in order, and the other fields of the message (`tool_calls`, `name`, ...).

    `content` is a string where the client sent a string (chat templates may tell it from a list of one text), the
    parts in order where it sent a list, and None where it sent none (an assistant turn of tool calls). In no text may
    a placeholder token of the model come to life: the engine neutralises it.
    """

    role: str
    content: str | tuple[str | Picture, ...] | None
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What an engine runs: turns with their pictures loaded, and sampling parameters by their OpenAI or vLLM names.

    `parameters` are as the client sent them, without `messages`, `model` and `stream`; the engine validates them.
    """

    messages: Sequence[Message]
    model: str | None
    parameters: Mapping[str, Any]
    request_id: str
    stream: bool = False

    def release_pictures(self) -> None:
        """Let the pixels of all its pictures go."""
        for message in self.messages:
            for part in message.content or ():
                if isinstance(part, Picture):
                    part.release()


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What is served: the names that `model` may have, the context length in tokens, whether pictures are understood,
    the request fields that the engine gives a meaning to, and when it was loaded (Unix seconds)."""

    names: tuple[str, ...]
    max_model_len: int
    supports_pictures: bool
    parameters: frozenset[str] = frozenset()
    created: int = 0


class Engine(Protocol):
    """A model that answers prompts. One object, one event loop; `start` before anything else, `stop` last."""

    async def start(self) -> ModelCard:
        """Load the model. Raises StartError with the cure where it cannot."""

    def holds(self, digest: str) -> bool:
        """Whether the processed picture with this digest is at hand, so that its pixels will not be asked for."""

    async def complete(self, prompt: Prompt) -> bytes:
        """The chat completion as JSON text. Raises RequestError or ServerError; cancelling it aborts the request."""

    def stream(self, prompt: Prompt) -> AsyncGenerator[bytes, None]:
        """The chat completion chunks, each as JSON text. Raises as `complete` does, before the first chunk or later.
        Closing the generator aborts the request."""

    async def check(self) -> None:
        """Raises EngineDead when no further request can be answered."""

    async def stop(self) -> None:
        """Free the model and end its processes. May be called twice, and after a failed `start`."""
