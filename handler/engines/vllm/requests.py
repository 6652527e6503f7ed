"""Prompt -> vLLM's request, with undecoded images that are named by their content hash; and the renderer that takes it.

vLLM takes a PIL image with a `uuid` in a content part of its own (`image_pil`), which no client can send: the OpenAI schemas
refuse it. The uuid becomes the key of vLLM's processor cache, and an image that is in the cache is never decoded, since it
is a lazy one. Upstream plans its own mechanism; ours is `_parts`, `_media` and `_text_prompt`.

OpenAI's text completions have no images, but vLLM's prompts do: `TextRequest` carries the prompts for the renderer.
"""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import PrivateAttr
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.multimodal.media.base import MediaWithBytes
from vllm.renderers.online_renderer import OnlineRenderer
from vllm.sampling_params import StructuredOutputsParams

from handler.engine import ChatPrompt, ImageEmbeds, Message, Prompt, PromptImage, Text, TextPrompt
from handler.engines.placeholders import PlaceholderEscaper
from handler.engines.vllm.embeds import check_embeds
from handler.engines.vllm.grammars.limits import grammar_path
from handler.engines.vllm.grammars.trials import GrammarTrials
from handler.engines.vllm.placeholders import Placeholder
from handler.errors import InvalidRequest
from handler.prompt_length import new_tokens

# Old names of structured output, which vLLM has dropped and would ignore.
GUIDED = {"guided_json": "json", "guided_regex": "regex", "guided_choice": "choice", "guided_grammar": "grammar"}
MAX_LENGTH = "max_length"  # transformers', of prompt and completion together
CHAT_PARAMETERS = frozenset(ChatCompletionRequest.model_fields) | GUIDED.keys() | {MAX_LENGTH}
TEXT_PARAMETERS = (frozenset(CompletionRequest.model_fields) | GUIDED.keys() | {MAX_LENGTH}) - {
    "prompt_embeds",
    "suffix",
}


class ChatRequest(ChatCompletionRequest):  # type: ignore[misc]  # vllm is untyped here
    """vLLM's request for `prompt`."""

    _prompt: Prompt = PrivateAttr()

    @property
    def prompt(self) -> Prompt:
        """The prompt, whose images the renderer releases."""
        return self._prompt


class TextRequest(CompletionRequest):  # type: ignore[misc]  # vllm is untyped here
    """vLLM's request for `source`, with the prompts that the renderer takes in place of the field `prompt`."""

    _source: Prompt = PrivateAttr()
    _prompts: list[dict[str, Any]] = PrivateAttr(default_factory=list)

    @property
    def source(self) -> Prompt:
        """The prompt, whose images the renderer releases."""
        return self._source

    @property
    def prompts(self) -> list[dict[str, Any]]:
        """vLLM's prompts, one for each text."""
        return self._prompts


class Renderer(OnlineRenderer):  # type: ignore[misc]  # vllm is untyped here
    """vLLM's renderer. It takes raw prompts with images, and releases the images of a prompt as soon as vLLM has processed
    them, while the response is still generated. A request leaves it with a grammar that a trial has passed.
    `adds_special_tokens` is what a chat does that does not say."""

    adds_special_tokens = False
    grammars: GrammarTrials | None = None

    async def render_chat(self, request: ChatRequest, **options: Any) -> Any:
        if "add_special_tokens" not in request.model_fields_set:
            request.add_special_tokens = self.adds_special_tokens
        try:
            await self._try_grammar(request)  # before vLLM's parsers read it
            with _truncation_errors(request):
                rendered = await super().render_chat(request, **options)
            await self._pass_grammar(request)  # which may be made of the tools
            if not isinstance(rendered, ErrorResponse):
                _limit_length(request, request.prompt, rendered[1])
            return rendered
        finally:
            request.prompt.release_images()

    async def render_completion(self, request: TextRequest, **options: Any) -> Any:
        try:
            await self._pass_grammar(request)
            with _truncation_errors(request):
                rendered = await self.preprocess_cmpl(request, request.prompts, **options)
            _limit_length(request, request.source, rendered)
            return rendered
        finally:
            request.source.release_images()

    async def _pass_grammar(self, request: ChatRequest | TextRequest) -> None:
        if (grammar := await self._try_grammar(request)) is not None:
            request.structured_outputs, request.response_format = grammar, None

    async def _try_grammar(self, request: ChatRequest | TextRequest) -> StructuredOutputsParams | None:
        prompt = request.prompt if isinstance(request, ChatRequest) else request.source
        grammar = request.extract_structured_outputs()
        if self.grammars is None or grammar is None or grammar.all_constraints_none():
            return None
        return await self.grammars.passed(grammar, grammar_path(prompt.parameters), prompt.client)


@contextlib.contextmanager
def _truncation_errors(request: ChatRequest | TextRequest) -> Iterator[None]:
    """vLLM truncates before it puts images in their places, and asserts that these are still there."""
    try:
        yield
    except AssertionError as fault:
        if request.truncate_prompt_tokens is None:
            raise
        raise InvalidRequest(
            f"`truncate_prompt_tokens` is {request.truncate_prompt_tokens}, which cuts off the place of an image.",
            param="truncate_prompt_tokens",
        ) from fault


def _limit_length(request: ChatRequest | TextRequest, prompt: Prompt, rendered: Sequence[Mapping[str, Any]]) -> None:
    if MAX_LENGTH in prompt.parameters:
        request.max_tokens = new_tokens(prompt.parameters[MAX_LENGTH], len(rendered[0]["prompt_token_ids"]))


def chat_request(prompt: ChatPrompt, escaper: PlaceholderEscaper, embeds_width: int) -> ChatRequest:
    """vLLM's request. `embeds_width` is the width of the model's embeddings.

    Raises pydantic's ValidationError or vLLM's errors for parameters that vLLM refuses, and InvalidRequest for image
    embeddings that do not fit the model.
    """
    parameters = _parameters(prompt)
    for name in ("tools", "documents", "chat_template_kwargs"):
        if name in parameters:
            parameters[name] = escaper.escape_json(parameters[name])
    # handler.payload has validated the messages; vLLM's own check walks unions and reports pages of errors.
    request: ChatRequest = ChatRequest.model_validate({**parameters, "messages": []})
    escape = escaper.run_of_texts()
    request.messages = [
        _message(message, f"messages[{i}]", escaper, escape, embeds_width) for i, message in enumerate(prompt.messages)
    ]
    request._prompt = prompt  # noqa: SLF001  # declared above
    return request


def text_request(prompt: TextPrompt, escaper: PlaceholderEscaper, placeholder: Placeholder) -> TextRequest:
    """vLLM's request. `placeholder(n)` is the text that stands for the n-th image in the model's prompts. Raises as
    `chat_request` does."""
    # The field must be there; the renderer takes the prompts instead.
    request: TextRequest = TextRequest.model_validate({**_parameters(prompt), "prompt": "-"})
    request._source = prompt  # noqa: SLF001  # declared above
    request._prompts = [_text_prompt(text, escaper, placeholder) for text in prompt.texts]  # noqa: SLF001
    return request


def _parameters(prompt: Prompt) -> dict[str, Any]:
    parameters = {name: value for name, value in prompt.parameters.items() if name not in GUIDED}
    guided = {GUIDED[name]: value for name, value in prompt.parameters.items() if name in GUIDED and value is not None}
    if guided:
        parameters["structured_outputs"] = guided
    if parameters.pop(MAX_LENGTH, None) is not None:
        parameters["max_tokens"] = 1  # at least: how many it leaves is known once the prompt is rendered
    return {**parameters, "model": prompt.model, "stream": prompt.stream, "request_id": prompt.request_id}


def _message(
    message: Message, path: str, escaper: PlaceholderEscaper, escape: Callable[[str], str], embeds_width: int
) -> dict[str, Any]:
    fields: dict[str, Any] = escaper.escape_json(message.fields) if message.fields else {}
    if "tool_calls" in fields:
        fields["tool_calls"] = [
            _tool_call(call, f"{path}.tool_calls[{i}]", escaper) for i, call in enumerate(message.fields["tool_calls"])
        ]
    content: Any = message.content
    if isinstance(content, str):
        content = escape(content)
    elif content is not None:
        parts = _parts(content, escape, embeds_width)
        content = [{**escaper.escape_json(message.part_fields.get(i, {})), **part} for i, part in enumerate(parts)]
    return {**fields, "role": message.role, "content": content}


def _parts(
    content: Iterable[str | PromptImage | ImageEmbeds], escape: Callable[[str], str], embeds_width: int
) -> Iterator[dict[str, Any]]:
    for part in content:
        if isinstance(part, str):
            yield {"type": "text", "text": escape(part)}
        elif isinstance(part, PromptImage):
            yield {"type": "image_pil", "image_pil": _media(part), "uuid": part.digest}
        else:
            check_embeds(part, embeds_width)
            yield {"type": "image_embeds", "image_embeds": part.data}


def _media(image: PromptImage) -> MediaWithBytes[Any]:
    return MediaWithBytes(image.image, image.encoded)


def _tool_call(call: Mapping[str, Any], path: str, escaper: PlaceholderEscaper) -> dict[str, Any]:
    escaped: dict[str, Any] = escaper.escape_json(call)
    arguments = call["function"].get("arguments")
    if isinstance(arguments, str):
        # vLLM parses them for the template, where an escape in them (\u003c) would become a placeholder.
        where = f"{path}.function.arguments"
        try:
            parsed = escaper.escape_json(json.loads(arguments))
            escaped["function"]["arguments"] = json.dumps(parsed, ensure_ascii=False)
        except RecursionError as fault:
            raise InvalidRequest(f"`{where}` is nested too deeply.", param=where) from fault
        except ValueError:  # vLLM passes on what is not JSON as it is
            pass
    return escaped


def _text_prompt(text: Text, escaper: PlaceholderEscaper, placeholder: Placeholder) -> dict[str, Any]:
    if text.tokens is not None:
        return {"prompt_token_ids": list(text.tokens)}
    images = [part for part in text.content if isinstance(part, PromptImage)]
    texts = escaper.escape_run(part for part in text.content if isinstance(part, str))
    numbers = iter(range(1, len(images) + 1))
    pieces = (
        (placeholder(next(numbers)) or "") if isinstance(part, PromptImage) else next(texts) for part in text.content
    )
    prompt: dict[str, Any] = {"prompt": "".join(pieces)}
    if images:
        prompt["multi_modal_data"] = {"image": [_media(image) for image in images]}
        prompt["multi_modal_uuids"] = {"image": [image.digest for image in images]}
    return prompt
