"""Content parts: a text or an image, in every form that clients send."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from handler.errors import InvalidRequest
from handler.payload.fields import expect, json_type, present, shorten

TEXT_FIELDS = frozenset({"text", "refusal", "thinking"})
IMAGE_FIELDS = frozenset({"image_url", "image", "url"})
MAX_UUID = 200
# vLLM looks for media in these whatever the type of a part says, and gives none of them to the chat template
# (renderers/chat_utils.py, 0.32); a test compares them.
RESERVED = frozenset(
    {
        "type",
        "text",
        "refusal",
        "thinking",
        "closed",
        "name",
        "uuid",
        "detail",
        "url",
        "image",
        "image_url",
        "image_pil",
        "image_embeds",
        "audio_url",
        "audio_embeds",
        "input_audio",
        "video_url",
        "video_embeds",
        "prompt_embeds",
        "data",
        "file",
        "tool_reference",
        "prompt_cache_breakpoint",
    }
)
DETAILS = ("auto", "low", "high", "original")
_SESSION_REFERENCE = re.compile(r"\s*sha256:([0-9a-fA-F]{64})\s*")


@dataclass(frozen=True, slots=True)
class TextPart:
    """A text in a content list; `path` is its JSON path (`messages[0].content[1]`). `fields` are its other fields, which are
    the chat template's (TranslateGemma's language codes)."""

    text: str
    path: str
    fields: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class ImagePart:
    """An image in the request: a data:, http: or https: URL, or bytes, not checked yet.

    `path` is the JSON path of the URL itself (`messages[0].content[1].image_url.url`). `fields` are the chat template's.
    `uuid` is the client's name for the image; with it and an empty URL, the image is the one that had the name before.
    """

    url: str | bytes
    path: str
    fields: Mapping[str, Any] = field(default_factory=dict, hash=False)
    uuid: str | None = None

    @property
    def session_digest(self) -> str | None:
        """The SHA-256 that refers to an image of the session (`sha256:<hex>`), if it does that in place of a URL."""
        reference = _SESSION_REFERENCE.fullmatch(self.url) if isinstance(self.url, str) else None
        return reference[1].lower() if reference else None


@dataclass(frozen=True, slots=True)
class EmbedsPart:
    """An image as embeddings from the model's own vision encoder: base64 of a tensor in the format of `torch.save` or of
    numpy, or of several by name, as vLLM takes them. `path` is the JSON path, `fields` are the chat template's."""

    data: str | Mapping[str, str]
    path: str
    fields: Mapping[str, Any] = field(default_factory=dict, hash=False)


Part = TextPart | ImagePart | EmbedsPart


def content_part(part: Any, path: str, ignored: list[str]) -> Part:
    if isinstance(part, str):
        return TextPart(part, path)
    if not isinstance(part, dict):
        raise InvalidRequest(f"`{path}` is {json_type(part)}; a content part is an object with a `type`.", param=path)
    part = present(part)
    kind = part.get("type") or _implied_type(part)
    read = _PARTS.get(kind) if isinstance(kind, str) else None
    if isinstance(kind, str) and any(word in kind for word in ("audio", "video")):
        raise InvalidRequest(
            f"`{path}` has the type {shorten(kind)!r}; images are the only media that are supported.",
            param=f"{path}.type",
            code="unsupported_part",
        )
    if read is None:
        accepted = ", ".join(sorted(_PARTS))
        wrong = f"`{path}` has no `type`" if kind is None else f"`{path}.type` is {shorten(str(kind))!r}"
        raise InvalidRequest(f"{wrong}; the accepted types are {accepted}.", param=f"{path}.type", code="unknown_part")
    if part.keys() & TEXT_FIELDS and part.keys() & IMAGE_FIELDS:
        raise InvalidRequest(f"`{path}` has fields of a text and of an image; send two parts.", param=path)
    return read(part, path, ignored)


def _implied_type(part: dict[str, Any]) -> str | None:
    return next((name for name in ("text", "image_url") if name in part), None)


def _text(part: dict[str, Any], path: str, ignored: list[str]) -> TextPart:
    name = part["type"] if part.get("type") in ("refusal", "thinking") else "text"
    return TextPart(expect(part, name, str, path, "a string"), path, _fields(part, path, ignored, name))


def _fields(part: dict[str, Any], path: str, ignored: list[str], *own: str) -> dict[str, Any]:
    """The fields for the chat template. Those that have a meaning in another kind of part have none there."""
    others = {name: value for name, value in part.items() if name not in own}
    ignored.extend(f"{path}.{name}" for name in others if name in RESERVED and name != "type")
    return {name: value for name, value in others.items() if name not in RESERVED}


def _image(part: dict[str, Any], path: str, ignored: list[str]) -> ImagePart:
    name = next((name for name in ("image_url", "image", "url") if name in part), "image_url")
    fields = _fields(part, path, ignored, name, "detail", "uuid")
    value, path = part.get(name), f"{path}.{name}"
    detail, uuid = part.get("detail"), part.get("uuid")
    if isinstance(value, dict):
        uuid = value.get("uuid", uuid)
        ignored.extend(f"{path}.{other}" for other in value if other not in ("url", "detail", "uuid"))
        detail = value.get("detail", detail)
    if detail is not None and detail not in DETAILS:
        wrong, where = shorten(str(detail)), f"{path}.url" if isinstance(value, dict) else path
        raise InvalidRequest(
            f"`detail` beside `{where}` is {wrong!r}; it must be one of {', '.join(DETAILS)}.", param=where
        )
    uuid = None if uuid is None else _uuid(uuid, path)
    if uuid is not None and (value.get("url") if isinstance(value, dict) else value) in (None, ""):
        return ImagePart("", path, fields, uuid)
    return replace(image_at(value, path), fields=fields, uuid=uuid)


def _uuid(value: Any, path: str) -> str:
    if not isinstance(value, str | int) or not 0 < len(str(value)) <= MAX_UUID:
        raise InvalidRequest(f"`uuid` beside `{path}` must be a text of 1 to {MAX_UUID} characters.", param=path)
    return str(value)


def image_at(value: Any, path: str) -> ImagePart:
    """The image at `path`: a URL, or an object with one. Raises InvalidRequest."""
    if isinstance(value, dict):
        value, path = value.get("url"), f"{path}.url"
    if isinstance(value, str | bytes):
        return ImagePart(value, path)
    raise InvalidRequest(f"`{path}` is {json_type(value)}; it must be a data:, http: or https: URL.", param=path)


def _embeds(part: dict[str, Any], path: str, ignored: list[str]) -> EmbedsPart:
    fields = _fields(part, path, ignored, "image_embeds", "uuid")
    value, path = part.get("image_embeds"), f"{path}.image_embeds"
    if isinstance(value, dict) and value and all(isinstance(one, str) for one in value.values()):
        return EmbedsPart(value, path, fields)
    if isinstance(value, str) and value:
        return EmbedsPart(value, path, fields)
    raise InvalidRequest(
        f"`{path}` is {json_type(value)}; it must be the base64 of a tensor, or an object with several.", param=path
    )


_PARTS: dict[str, Callable[[dict[str, Any], str, list[str]], Part]] = {
    "text": _text,
    "input_text": _text,
    "output_text": _text,
    "refusal": _text,
    "thinking": _text,
    "image_url": _image,
    "input_image": _image,
    "image": _image,
    "image_embeds": _embeds,
}
