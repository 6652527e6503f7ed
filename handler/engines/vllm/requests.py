"""Prompt -> vLLM's ChatCompletionRequest, its images undecoded and named by their content hash.

vLLM takes a PIL image beside a `uuid` in a content part of its own (`image_pil`), which no client can send: the OpenAI
schemas refuse it. The uuid becomes the key of vLLM's processor cache, and an image that is found there is never
decoded, since the image is a lazy one. Upstream plans a mechanism of its own; all of ours is in `_image`.
"""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.multimodal.media.base import MediaWithBytes

from handler.engine import Embeds, Message, Prompt, PromptImage
from handler.engines.vllm.placeholders import Neutraliser

# Old names of structured output, which vLLM dropped and would now ignore.
GUIDED = {"guided_json": "json", "guided_regex": "regex", "guided_choice": "choice", "guided_grammar": "grammar"}


@dataclass
class ReleasableImage(MediaWithBytes[Any]):  # type: ignore[misc]  # vllm is untyped here
    """vLLM's pair of media and bytes, with the way to let the pixels go."""

    release: Callable[[], None] = lambda: None


def known_parameters() -> frozenset[str]:
    """The request fields that have a meaning here."""
    return frozenset(ChatCompletionRequest.model_fields) | frozenset(GUIDED)


def chat_completion_request(prompt: Prompt, neutraliser: Neutraliser) -> ChatCompletionRequest:
    """Raises pydantic's ValidationError or vLLM's errors for parameters that vLLM refuses."""
    parameters = current(prompt.parameters)
    for name in ("tools", "documents", "chat_template_kwargs"):
        if name in parameters:
            parameters[name] = neutraliser.deep(parameters[name])
    # Messages are validated already (handler.payload); vLLM's own check walks unions and explains itself in pages.
    request = ChatCompletionRequest.model_validate(
        {**parameters, "messages": [], "model": prompt.model, "stream": prompt.stream, "request_id": prompt.request_id}
    )
    request.messages = [_message(message, neutraliser) for message in prompt.messages]
    return request


def current(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """`parameters` with the old names of structured output replaced."""
    named = {name: value for name, value in parameters.items() if name not in GUIDED}
    guided = {GUIDED[name]: value for name, value in parameters.items() if name in GUIDED and value is not None}
    if guided:
        named["structured_outputs"] = guided
    return named


def release_images(request: ChatCompletionRequest) -> None:
    """Let the pixels of the request's images go: vLLM has made its tensors of them."""
    for message in request.messages:
        for part in message["content"] if isinstance(message["content"], list) else ():
            if isinstance(media := part.get("image_pil"), ReleasableImage):
                media.release()


def _message(message: Message, neutraliser: Neutraliser) -> dict[str, Any]:
    fields: dict[str, Any] = neutraliser.deep(message.fields) if message.fields else {}
    if "tool_calls" in fields:
        fields["tool_calls"] = [_tool_call(call, neutraliser) for call in message.fields["tool_calls"]]
    content: Any = message.content
    if isinstance(content, str):
        content = neutraliser.neutralise(content)
    elif content is not None:
        content = list(_parts(content, neutraliser))
    return {**fields, "role": message.role, "content": content}


def _parts(content: Iterable[str | PromptImage | Embeds], neutraliser: Neutraliser) -> Iterator[dict[str, Any]]:
    for are_texts, parts in groupby(content, key=lambda part: isinstance(part, str)):
        if are_texts:
            yield from ({"type": "text", "text": text} for text in neutraliser.run(map(str, parts)))
        else:
            yield from (_media(part) for part in parts if not isinstance(part, str))


def _tool_call(call: Mapping[str, Any], neutraliser: Neutraliser) -> dict[str, Any]:
    harmless: dict[str, Any] = neutraliser.deep(call)
    arguments = call["function"].get("arguments")
    if isinstance(arguments, str):
        # vLLM parses them for the template, where an escape in them (\u003c) would come to life.
        with contextlib.suppress(ValueError):
            harmless["function"]["arguments"] = json.dumps(neutraliser.deep(json.loads(arguments)), ensure_ascii=False)
    return harmless


def held(image: PromptImage) -> ReleasableImage:
    """The image as vLLM takes it: undecoded."""
    return ReleasableImage(image.image, image.encoded, release=image.release)


def _media(media: PromptImage | Embeds) -> dict[str, Any]:
    if isinstance(media, Embeds):
        return {"type": "image_embeds", "image_embeds": media.data}
    return {"type": "image_pil", "image_pil": held(media), "uuid": media.digest}
