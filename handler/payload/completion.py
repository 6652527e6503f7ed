"""The JSON object of a text completion request -> CompletionRequest: raw prompts, with images if there are any."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from handler.errors import InvalidRequest
from handler.payload import adapter_choice as adapters
from handler.payload.fields import expect, kind_of, optional, unknown_fields
from handler.payload.openai import OpenAIRequest
from handler.payload.parts import ImagePart, image_at

OWN = frozenset({"prompt", "model", "stream", adapters.FIELD})
IMAGES = ("images", "image", "multi_modal_data")
MOST_PROMPTS = 1000
MISLEADING = {
    "max_new_tokens": "use `max_tokens`",
    "messages": "a request has `messages` or `prompt`, not both",
    "inputs": "a request has `inputs` or `prompt`, not both",
    "parameters": "it belongs to the schema with `inputs`; write its fields beside `prompt`",
    "suffix": "no model here fills in the middle",
    "prompt_embeds": "it is not taken from clients",
    "kv_transfer_params": "it is not taken from clients",
    "ec_transfer_params": "it is not taken from clients",
}


@dataclass(frozen=True, slots=True)
class RawText:
    """A raw prompt as sent, with the images that it speaks of, in order; or the ids of its tokens.

    `path` is the JSON path of the text (`prompt`, `prompt[1]`, `inputs.prompt`).
    """

    text: str
    path: str
    images: tuple[ImagePart, ...] = ()
    tokens: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionRequest(OpenAIRequest):
    """A text completion of raw prompts."""

    texts: tuple[RawText, ...]

    def images(self) -> Iterator[ImagePart]:
        """Every image, prompt by prompt."""
        for text in self.texts:
            yield from text.images


def completion_request(
    payload: Mapping[str, Any], known: frozenset[str], adapter: str | None = None
) -> CompletionRequest:
    """Read a text completion request; `known` are the parameters that the engine gives a meaning to, and `adapter` is
    what the header names.

    `prompt` is what OpenAI takes (a text, token ids, or a list of either), or `{"prompt": ..., "multi_modal_data":
    {"image": ...}}`, or a list of such. Images of a single prompt may stand beside it, in `multi_modal_data` or
    `images`. Raises InvalidRequest with the JSON path of the first fault.
    """
    ignored = unknown_fields(payload, (known | OWN | {*IMAGES}), MISLEADING)
    return CompletionRequest(
        texts=_texts(payload),
        model=optional(payload, "model", str, "", "a string"),
        stream=optional(payload, "stream", bool, "", "true or false") or False,
        parameters={name: value for name, value in payload.items() if name in known and name not in OWN},
        ignored=tuple(ignored),
        adapter=adapters.adapter_of(payload, adapter),
    )


def raw_text(value: Any, path: str) -> RawText:
    """The prompt at `path`: a text, or an object with `prompt` (or `text`) and its images."""
    if isinstance(value, str):
        return RawText(value, path)
    if not isinstance(value, dict):
        raise InvalidRequest(
            f"`{path}` is {kind_of(value)}; it must be a text, or an object with `prompt`.", param=path
        )
    unknown = unknown_fields(value, {"prompt", "text", *IMAGES}, {}, path)
    if unknown:
        where = f"{path}.{unknown[0]}"
        raise InvalidRequest(f"`{where}` has no meaning beside a prompt; leave it out.", param=where)
    name = "text" if "prompt" not in value and "text" in value else "prompt"
    text = expect(value, name, str, path, "a text")
    return RawText(text, f"{path}.{name}", images(value, path))


def images(holder: Mapping[str, Any], path: str) -> tuple[ImagePart, ...]:
    """The images in `images`, `image` and `multi_modal_data` of the object at `path`, each a URL or a list of URLs."""
    prefix = f"{path}." if path else ""
    found = [
        *_listed(holder.get("images"), f"{prefix}images"),
        *_listed(holder.get("image"), f"{prefix}image"),
    ]
    data = optional(holder, "multi_modal_data", dict, path, 'an object such as {"image": ...}') or {}
    for kind, value in data.items():
        where = f"{prefix}multi_modal_data.{kind}"
        if kind not in ("image", "images"):
            raise InvalidRequest(
                f"`{where}` is not an image, and nothing else is read here; leave it out.", param=where
            )
        found += _listed(value, where)
    return tuple(found)


def _listed(value: Any, path: str) -> list[ImagePart]:
    if value is None:
        return []
    if isinstance(value, list):
        return [image_at(one, f"{path}[{i}]") for i, one in enumerate(value)]
    return [image_at(value, path)]


def _texts(payload: Mapping[str, Any]) -> tuple[RawText, ...]:
    prompt = payload.get("prompt")
    beside = images(payload, "")
    if isinstance(prompt, str):
        return (RawText(prompt, "prompt", beside),)
    if isinstance(prompt, dict):
        only = raw_text(prompt, "prompt")
        return (RawText(only.text, only.path, (*only.images, *beside)),)
    if not isinstance(prompt, list) or not prompt:
        wrong = "an empty list" if prompt == [] else kind_of(prompt)
        raise InvalidRequest(f"`prompt` is {wrong}; it must be a text, token ids or a list of them.", param="prompt")
    if beside:
        cure = 'give each its own: {"prompt": "...", "multi_modal_data": {"image": "..."}}'
        raise InvalidRequest(f"Images beside several prompts belong to none of them; {cure}.", param=beside[0].path)
    if _are_tokens(prompt):
        return (RawText("", "prompt", tokens=tuple(prompt)),)
    if len(prompt) > MOST_PROMPTS:
        raise InvalidRequest(f"`prompt` has {len(prompt)} prompts; at most {MOST_PROMPTS} are taken.", param="prompt")
    return tuple(
        RawText("", f"prompt[{i}]", tokens=tuple(one)) if _are_tokens(one) else raw_text(one, f"prompt[{i}]")
        for i, one in enumerate(prompt)
    )


def _are_tokens(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(one) is int and one >= 0 for one in value)
