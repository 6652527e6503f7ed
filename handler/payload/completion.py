"""The JSON object of a text completion request -> CompletionRequest: raw prompts, with images if there are any."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from handler.errors import InvalidRequest
from handler.payload import adapter_choice
from handler.payload.fields import expect, json_type, optional, pop_superseded_length, present, unknown_fields
from handler.payload.parts import ImagePart, image_at
from handler.payload.requests import CompletionRequest, RawText

OWN = frozenset({"prompt", "model", "stream", adapter_choice.FIELD})
IMAGE_FIELDS = ("images", "image", "multi_modal_data")
MAX_PROMPTS = 1000
MISLEADING = {
    "max_new_tokens": "use `max_tokens`",
    "messages": "a request has `messages` or `prompt`, not both",
    "inputs": "a request has `inputs` or `prompt`, not both",
    "parameters": "it belongs to the schema with `inputs`; write its fields beside `prompt`",
    "suffix": "no model here fills in the middle",
    "prompt_embeds": "clients may not send it",
    "kv_transfer_params": "clients may not send it",
    "ec_transfer_params": "clients may not send it",
}


def parse_completion_request(
    payload: Mapping[str, Any], known: frozenset[str], adapter: str | None = None
) -> CompletionRequest:
    """Parse a text completion request. `known` are the parameters that the engine knows, `adapter` is the one that the
    header names.

    `prompt` is what OpenAI takes (a text, token ids, or a list of either), or `{"prompt": ..., "multi_modal_data":
    {"image": ...}}`, or a list of such. Images of a single prompt may stand beside it, in `multi_modal_data` or
    `images`. Raises InvalidRequest with the JSON path of the first fault.
    """
    payload = present(payload)
    ignored = unknown_fields(payload, (known | OWN | {*IMAGE_FIELDS}), MISLEADING)
    parameters = {name: value for name, value in payload.items() if name in known and name not in OWN}
    ignored += pop_superseded_length(parameters)
    return CompletionRequest(
        texts=_texts(payload),
        model=optional(payload, "model", str, "", "a string") or None,
        stream=optional(payload, "stream", bool, "", "true or false") or False,
        parameters=parameters,
        ignored=tuple(ignored),
        adapter=adapter_choice.adapter_of(payload, adapter),
    )


def raw_text(value: Any, path: str) -> RawText:
    """The prompt at `path`: a text, or an object with `prompt` (or `text`) and its images."""
    if isinstance(value, str):
        return RawText(value, path)
    if not isinstance(value, dict):
        chat = "; a chat is sent as `messages`" if isinstance(value, list) else ""
        raise InvalidRequest(
            f"`{path}` is {json_type(value)}; it must be a text, or an object with `prompt`{chat}.", param=path
        )
    value = present(value)
    unknown = unknown_fields(value, {"prompt", "text", *IMAGE_FIELDS}, {}, path)
    if unknown:
        where = f"{path}.{unknown[0]}"
        raise InvalidRequest(f"`{where}` is not supported in a prompt object; remove it.", param=where)
    name = "text" if "prompt" not in value and "text" in value else "prompt"
    text = expect(value, name, str, path, "a text")
    return RawText(text, f"{path}.{name}", images(value, path))


def images(holder: Mapping[str, Any], path: str) -> tuple[ImagePart, ...]:
    """The images in `images`, `image` and `multi_modal_data` of the object at `path`, each a URL or a list of URLs."""
    prefix = f"{path}." if path else ""
    found = [
        *_images_at(holder.get("images"), f"{prefix}images"),
        *_images_at(holder.get("image"), f"{prefix}image"),
    ]
    data = optional(holder, "multi_modal_data", dict, path, 'an object such as {"image": ...}') or {}
    for kind, value in data.items():
        where = f"{prefix}multi_modal_data.{kind}"
        if kind not in ("image", "images"):
            raise InvalidRequest(f"`{where}` is not supported; only images are.", param=where)
        found += _images_at(value, where)
    return tuple(found)


def _images_at(value: Any, path: str) -> list[ImagePart]:
    if value is None:
        return []
    if isinstance(value, list):
        return [image_at(one, f"{path}[{i}]") for i, one in enumerate(value)]
    return [image_at(value, path)]


def _texts(payload: Mapping[str, Any]) -> tuple[RawText, ...]:
    prompt = payload.get("prompt")
    top_level = images(payload, "")
    if isinstance(prompt, str):
        return (RawText(prompt, "prompt", top_level),)
    if isinstance(prompt, dict):
        only = raw_text(prompt, "prompt")
        return (replace(only, images=(*only.images, *top_level)),)
    if not isinstance(prompt, list) or not prompt:
        wrong = "an empty list" if prompt == [] else json_type(prompt)
        raise InvalidRequest(f"`prompt` is {wrong}; it must be a text, token ids or a list of them.", param="prompt")
    if top_level:
        cure = 'give each its own: {"prompt": "...", "multi_modal_data": {"image": "..."}}'
        raise InvalidRequest(f"Images beside a list of prompts are ambiguous; {cure}.", param=top_level[0].path)
    if _are_tokens(prompt):
        return (RawText("", "prompt", tokens=tuple(prompt)),)
    if len(prompt) > MAX_PROMPTS:
        raise InvalidRequest(f"`prompt` has {len(prompt)} prompts; the maximum is {MAX_PROMPTS}.", param="prompt")
    return tuple(
        RawText("", f"prompt[{i}]", tokens=tuple(one)) if _are_tokens(one) else raw_text(one, f"prompt[{i}]")
        for i, one in enumerate(prompt)
    )


def _are_tokens(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(one) is int and one >= 0 for one in value)
