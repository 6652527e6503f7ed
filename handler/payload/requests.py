"""The request of each schema as the client sent it: checked, with images that are not loaded yet."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from handler.payload.adapter_choice import Choice
from handler.payload.parts import EmbedsPart, ImagePart, Part


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the requests of all schemas have in common.

    `model` is the name that the client sent; `parameters` are all fields that the schema itself does not have, by their
    OpenAI or vLLM names, for the engine to validate. `ignored` lists the JSON paths that have no effect.
    """

    model: str | None = None
    stream: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    adapter: Choice | None = None


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message: `content` is a string, the parts of a list, or None where the message has none.

    `fields` holds the other fields of the message (`name`, `tool_calls`, `tool_call_id`, ...).
    """

    role: str
    content: str | tuple[Part, ...] | None
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest(Request):
    """A chat completion: the conversation so far."""

    messages: tuple[ChatMessage, ...]

    def media(self) -> Iterator[ImagePart | EmbedsPart]:
        """The images and image embeddings of the conversation, in order."""
        for message in self.messages:
            if isinstance(message.content, tuple):
                yield from (part for part in message.content if isinstance(part, ImagePart | EmbedsPart))

    def images(self) -> list[ImagePart]:
        """The images of the conversation, in order."""
        return [part for part in self.media() if isinstance(part, ImagePart)]


@dataclass(frozen=True, slots=True)
class ChatBatch:
    """Several chats with the same parameters, which one completion answers with a choice for each."""

    chats: tuple[ChatRequest, ...]
    stream: bool = False

    @property
    def ignored(self) -> tuple[str, ...]:
        """The JSON paths that have no effect."""
        return tuple(dict.fromkeys(name for chat in self.chats for name in chat.ignored))


@dataclass(frozen=True, slots=True)
class RawText:
    """A raw prompt as sent, with its images in order; or its token ids.

    `path` is the JSON path of the text (`prompt`, `prompt[1]`, `inputs.prompt`).
    """

    text: str
    path: str
    images: tuple[ImagePart, ...] = ()
    tokens: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionRequest(Request):
    """A text completion of raw prompts."""

    texts: tuple[RawText, ...]

    def images(self) -> list[ImagePart]:
        """The images of all prompts, in order."""
        return [image for text in self.texts for image in text.images]


@dataclass(frozen=True, slots=True)
class ResponseFields:
    """What a response of the text-generation schema contains besides the text. `top_tokens` is `top_n_tokens`."""

    details: bool = False
    prompt_details: bool = False
    full_text: bool = False
    top_tokens: int = 0
    best_of: int = 1
    seed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """LMI's text generation: one completion for each input. `is_list` is whether the client sent a list of inputs."""

    completions: tuple[CompletionRequest, ...]
    is_list: bool
    fields: ResponseFields
    stream: bool
    ignored: tuple[str, ...] = ()
