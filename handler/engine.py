"""The seam between handler and engine: what an engine is, and the types that cross it. No type depends on an engine."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class PromptImage:
    """An image of a prompt, within the limits, identified by its content.

    `image` has the size and mode of the upright RGB image. Its pixels are decoded only when they are needed (`image.load()`),
    which they are not if the engine `holds` the digest. `digest` is a hex hash of the encoded bytes, `path` the JSON path of
    the content part. `release` frees the pixels, megabytes of them, while the response is still generated; it may be called
    more than once.
    """

    image: Image
    encoded: bytes = field(repr=False)
    digest: str
    path: str
    release: Callable[[], None] = field(default=lambda: None, repr=False)


@dataclass(frozen=True, slots=True)
class ImageEmbeds:
    """An image as embeddings from the model's own vision encoder: base64 of one tensor, or of several by name. The engine
    decodes and checks them. `path` is the JSON path."""

    data: str | Mapping[str, str] = field(repr=False)
    path: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message: its role, its content, its other fields (`tool_calls`, `name`, ...), and those of its parts by their index.

    `content` is a string where the client sent a string (chat templates can tell it from a list of one text), the parts in
    order where it sent a list, and None where it sent none. The engine escapes image placeholders in all texts.
    """

    role: str
    content: str | tuple[str | PromptImage | ImageEmbeds, ...] | None
    fields: Mapping[str, Any] = field(default_factory=dict)
    part_fields: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Text:
    """A raw prompt that the model continues: texts and images in order, or token ids.

    Its special tokens keep their meaning, as the client writes the whole template; only image placeholders lose theirs,
    since the images themselves are in `content`.
    """

    content: tuple[str | PromptImage, ...] = ()
    tokens: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptBase:
    """What chat prompts and text prompts have in common. `model` is the name of the model, or of the adapter that is to respond.

    `parameters` are as the `client` sent them, without the prompt itself, `model` and `stream`; the engine validates them.
    `tokens` asks for the tokens of completions, `prompt_tokens` for those of the prompt, `token_texts` for their texts; those
    with log probabilities have them in any case."""

    request_id: str
    client: str = ""
    model: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    stream: bool = False
    images: Sequence[PromptImage] = ()
    tokens: bool = True
    prompt_tokens: bool = False
    token_texts: bool = False

    def release_images(self) -> None:
        """Free the pixels of the images. May be called more than once."""
        for image in self.images:
            image.release()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatPrompt(PromptBase):
    """The messages of a chat completion, with their images loaded."""

    messages: Sequence[Message]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPrompt(PromptBase):
    """Raw prompts, each continued on its own."""

    texts: Sequence[Text]


Prompt = ChatPrompt | TextPrompt  # what an engine runs

MIN_LOGPROB = -9999.0  # JSON has no infinity; vLLM's own server writes this number for it


class Token(NamedTuple):
    """A token of a prompt or a completion. `text` is its text in this place, empty unless it was asked for; `logprob` and
    `rank` are None unless log probabilities were. `likeliest` are the most likely tokens in its place, best first, if
    they were asked for: as many as the request says, and this one."""

    id: int
    text: str = ""
    logprob: float | None = None
    likeliest: tuple["Token", ...] = ()
    rank: int | None = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool, or the next piece of one in a stream. The first piece has `id` and `name`; `arguments` is JSON
    text. `index` counts the calls of one completion."""

    index: int
    arguments: str | None = None
    id: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class ReadPrompt:
    """A prompt as the model has read it. `length` is the number of its tokens; `cached` of them were in the cache of
    prefixes, `cached_now` are since, and `media` counts those of each modality (`image`). `text` is the prompt after the chat
    template. `tokens` are there if the prompt asks for them."""

    length: int
    text: str | None = None
    tokens: tuple[Token, ...] = ()
    cached: int | None = None
    cached_now: int | None = None
    media: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RenderedPrompt:
    """A prompt as the model would read it: its `tokens`, with those of its images, and what the processor has made of the
    images, by the model's names for it, a tensor for each image or one for all."""

    tokens: Sequence[int]
    tensors: Mapping[str, Sequence[Any]] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Delta:
    """New text of a completion: all of it at once, or one chunk of a stream.

    `text_index` counts the texts of a prompt, `index` the completions of each (`n` of them). `text` is without `reasoning`
    and `tool_calls`, which the engine has parsed out of it, and None where that leaves nothing. `unlisted` tokens are
    counted but not among `tokens`: they were not asked for, or the client does not want to see the reasoning.
    `reasoning_tokens` counts those of the completion so far, at its end and wherever continuous usage is asked for; None
    if the engine parses no reasoning.

    The last delta has `finish_reason` and `stop_reason`: the stop string that ended it, or the id of the token; None for
    the end-of-sequence token. The first delta of a text has `prompt`. `choice_fields` and `response_fields` are an
    engine's own, for the client to see.
    """

    text: str | None
    tokens: tuple[Token, ...] = ()
    index: int = 0
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    prompt: ReadPrompt | None = None
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    text_index: int = 0
    unlisted: int = 0
    reasoning_tokens: int | None = None
    choice_fields: Mapping[str, Any] = field(default_factory=dict)
    response_fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelCard:
    """The model that is served.

    `names` are what requests may call it; `max_model_len` is in tokens, and no prompt that fits it has more than
    `max_characters`. The KV cache holds `concurrency` prompts of that length; `batch_size` sequences run at once. A prompt may
    have `max_images`. Without a chat template it continues raw prompts only; `template_words` are the template's words.
    `parameters` and `text_parameters` are the fields of chat and text completions that the engine knows. `placeholder` is
    an image in raw prompts (`<image>`). `created` is a Unix time in seconds. `version` is that of the engine's software;
    `fingerprint` changes with that, the model and the settings. What is unknown is None.
    """

    names: tuple[str, ...]
    max_model_len: int
    supports_images: bool
    max_images: int | None = None
    max_characters: int | None = None
    concurrency: float | None = None
    batch_size: int = 32
    has_chat_template: bool = True
    template_words: frozenset[str] = frozenset()
    parameters: frozenset[str] = frozenset()
    text_parameters: frozenset[str] = frozenset()
    placeholder: str | None = None
    created: int = 0
    version: str | None = None
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter: its name in requests, the directory of its files, and the address that they came from.

    The files are `adapter_config.json` and `adapter_model.safetensors` of PEFT. `rank` is the largest of its ranks.
    `created` is a Unix time in seconds. `release` is called when the engine no longer reads the files.
    """

    name: str
    directory: str
    source: str
    rank: int = 0
    created: int = 0
    release: Callable[[], None] = field(default=lambda: None, repr=False)


class EngineNode(Protocol):
    """The part of an engine that runs on this machine. It is live: a factory returns it once it is loaded."""

    async def check(self) -> None:
        """Raises EngineDead if its processes have ended or failed."""

    async def stop(self) -> None:
        """Free the model and end its processes. May be called twice."""


class Engine(EngineNode, Protocol):
    """A loaded model. All its methods are called on the event loop that started it."""

    @property
    def card(self) -> ModelCard:
        """The model that is served."""

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer, as transformers knows it, for user code."""

    def holds(self, digest: str) -> bool:
        """Whether the image with this digest is in the cache of processed images, so that its pixels are not needed."""

    def generate(self, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        """The completions of the prompt: one delta each unless `prompt.stream`. Raises RequestError or ServerError, before
        the first delta or later. Closing the generator aborts the request."""

    async def render(self, prompt: Prompt) -> Sequence[RenderedPrompt]:
        """What the model would read, for each text of the prompt; nothing is generated. Raises RequestError."""

    def sampling(self, prompt: Prompt) -> Mapping[str, Any]:
        """The sampling parameters that hold for the prompt, by OpenAI's names or vLLM's: the request's, or the model's own.
        Raises RequestError."""

    async def detokenize(self, tokens: Sequence[int]) -> str:
        """The text of tokens, special ones included. Raises InvalidRequest for ids that the model does not have."""

    @property
    def adapters(self) -> Mapping[str, Adapter]:
        """The adapters that a prompt may name as its `model`, by name."""

    async def load_adapter(self, adapter: Adapter) -> None:
        """Load `adapter`, in place of one with the same name. Raises InvalidRequest if it does not fit the model or the
        options; the adapters that were loaded stay."""

    async def unload_adapter(self, name: str) -> None:
        """Accept no new prompts for it. The running ones finish, then it is released. Raises UnknownAdapter."""

    def steps(self) -> Mapping[int, int]:
        """The steps computed so far by each replica that has prompts to compute, by its number."""

    def in_flight(self) -> Mapping[str, bool]:
        """The prompts that it has, oldest first: the request id, and whether the first token has come."""

    async def kill(self) -> None:
        """End it at once, whatever it does: what waits for it ends with EngineDead."""


class EngineFactory(Protocol):
    """Makes the one engine of this process."""

    def preload(self) -> None:
        """Begin the work that needs no model, while the model is fetched. To be called in the main thread, with a
        running loop; `start` and `follow` call it themselves. Raises StartError."""

    async def start(self, model: str, leader: str | None) -> Engine:
        """Load `model`, a directory or an id on the hub. `leader` is the address of node 0, if there are several
        nodes. Raises StartError with the cure."""

    async def follow(self, model: str, leader: str | None) -> EngineNode:
        """Run this node's part of the engine that node 0 starts; called in place of `start`. Raises StartError."""

    async def close(self) -> None:
        """End the processes that were begun and belong to no engine. May be called twice, and without `preload`."""
