"""Prompt -> vLLM's ChatCompletionRequest, its pictures undecoded and named by their content hash.

vLLM takes a PIL image beside a `uuid` in a content part of its own (`image_pil`), which no client can send: the OpenAI
schemas refuse it. The uuid becomes the key of vLLM's processor cache, and a picture that is found there is never
decoded, since the image is a lazy one. Upstream plans a mechanism of its own; all of ours is in `_picture`.
"""

from collections.abc import Mapping
from typing import Any

from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.multimodal.media.base import MediaWithBytes

from handler.engine import Message, Picture, Prompt
from handler.engines.vllm.placeholders import Neutraliser

# Old names of structured output, which vLLM dropped and would now ignore.
_GUIDED = {"guided_json": "json", "guided_regex": "regex", "guided_choice": "choice", "guided_grammar": "grammar"}


def known_parameters() -> frozenset[str]:
    """The request fields that have a meaning here."""
    return frozenset(ChatCompletionRequest.model_fields) | frozenset(_GUIDED)


def chat_completion_request(prompt: Prompt, neutraliser: Neutraliser) -> ChatCompletionRequest:
    """Raises pydantic's ValidationError or vLLM's errors for parameters that vLLM refuses."""
    parameters = {name: value for name, value in prompt.parameters.items() if name not in _GUIDED}
    guided = {
        _GUIDED[name]: value for name, value in prompt.parameters.items() if name in _GUIDED and value is not None
    }
    if guided:
        parameters["structured_outputs"] = guided
    for name in ("tools", "documents"):
        if name in parameters:
            parameters[name] = neutraliser.deep(parameters[name])
    # Messages are validated already (handler.payload); vLLM's own check walks unions and explains itself in pages.
    request = ChatCompletionRequest.model_validate(
        {**parameters, "messages": [], "model": prompt.model, "stream": prompt.stream, "request_id": prompt.request_id}
    )
    request.messages = [_message(message, neutraliser) for message in prompt.messages]
    return request


def _message(message: Message, neutraliser: Neutraliser) -> dict[str, Any]:
    fields: Mapping[str, Any] = neutraliser.deep(message.fields) if message.fields else {}
    content: Any = message.content
    if isinstance(content, str):
        content = neutraliser.neutralise(content)
    elif content is not None:
        content = [
            _picture(part) if isinstance(part, Picture) else {"type": "text", "text": neutraliser.neutralise(part)}
            for part in content
        ]
    return {**fields, "role": message.role, "content": content}


def _picture(picture: Picture) -> dict[str, Any]:
    return {
        "type": "image_pil",
        "image_pil": MediaWithBytes(picture.image, picture.encoded),
        "uuid": picture.digest,
    }
