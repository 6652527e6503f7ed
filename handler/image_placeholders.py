"""Image placeholders in texts -> the images in their places.

In chats only the operator's token (OPTION_IMAGE_PLACEHOLDER_TOKEN) is a placeholder; in raw prompts the model's own and
`<image>` are, too. Clients of vLLM 0.5 repeat the placeholder once for each feature of an image (OPTION_IMAGE_FEATURE_SIZE),
where vLLM expects it once today: `repeats` placeholders side by side are one.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from handler.errors import InvalidRequest
from handler.payload.parts import EmbedsPart, ImagePart, Part, TextPart
from handler.payload.requests import ChatMessage, ChatRequest, RawText

GENERIC = "<image>"  # what the documents of LMI and vLLM write for every model


@dataclass(frozen=True, slots=True)
class ImagePlaceholders:
    """`token` is the operator's; `repeats` of them side by side are one."""

    token: str | None = None
    repeats: int = 1

    def place_in_chat(self, request: ChatRequest) -> ChatRequest:
        """Move the images of each user message to the tokens in its texts, in order.

        In other messages the token is ordinary text. Images beyond the last token stay where the content list has them.
        Raises InvalidRequest where a message has more tokens than images: the prompt would mention a missing image.
        """
        if self.token is None:
            return request
        messages = (
            _place(_collapse(message, self.token, self.repeats), self.token, f"messages[{i}].content")
            if message.role == "user"
            else message
            for i, message in enumerate(request.messages)
        )
        return replace(request, messages=tuple(messages))

    def pattern(self, model_placeholder: str | None) -> re.Pattern[str]:
        """What marks an image in a raw prompt. Numbers in the model's placeholder (`<|image_1|>`) match any number."""
        literals = {text for text in (model_placeholder, self.token, GENERIC) if text}
        single = [re.sub(r"\d+", lambda _: r"(?:\d+)", re.escape(text)) for text in literals]
        single.sort(key=len, reverse=True)
        repeated = [f"(?:{one}){{{self.repeats}}}" for one in single] if self.repeats > 1 else []
        return re.compile("|".join((*repeated, *single)))


def split_at_placeholders(text: RawText, pattern: re.Pattern[str], after: str = "\n") -> tuple[str | ImagePart, ...]:
    """The texts and images of a raw prompt in order. Without a placeholder the images come first, and `after` each of them
    a line break; without images a placeholder is a text like any other.

    Raises InvalidRequest where placeholders and images do not match.
    """
    if not text.text and not text.images:
        raise InvalidRequest("The prompt is empty.", param=text.path)
    found = list(pattern.finditer(text.text)) if text.images else []
    if not found:
        return (*(part for image in text.images for part in (image, after) if part), text.text)
    if len(found) != len(text.images):
        raise InvalidRequest(
            f"The prompt has {len(found)} image placeholder(s) ({found[0][0]!r}) and {len(text.images)} image(s); send as "
            "many images as placeholders.",
            param=text.path,
        )
    images = [text.images[number] for number in _image_numbers(found, text.path)]
    return tuple(_interleave(text.text, found, images))


def _image_numbers(found: Collection[re.Match[str]], path: str) -> list[int]:
    """The index of the image that each placeholder stands for: its number, or its position if it has none."""
    numbers = [re.search(r"\d+", match[0]) for match in found]
    if not all(numbers):
        return list(range(len(found)))
    indices = [int(number[0]) - 1 for number in numbers if number]
    if sorted(indices) != list(range(len(found))):
        raise InvalidRequest(
            "The image placeholders of the prompt must be numbered 1, 2, 3 ..., one for each image.", param=path
        )
    return indices


def _interleave(
    text: str, found: Collection[re.Match[str]], images: Collection[ImagePart]
) -> Iterator[str | ImagePart]:
    end = 0
    for match, image in zip(found, images, strict=True):
        if between := text[end : match.start()]:
            yield between
        yield image
        end = match.end()
    if rest := text[end:]:
        yield rest


def _collapse(message: ChatMessage, token: str, repeats: int) -> ChatMessage:
    """`message` with one `token` for each run of `repeats` of them."""
    content, run = message.content, token * repeats
    if repeats == 1 or content is None:
        return message
    if isinstance(content, str):
        return replace(message, content=content.replace(run, token))
    parts = (
        replace(part, text=part.text.replace(run, token)) if isinstance(part, TextPart) else part for part in content
    )
    return replace(message, content=tuple(parts))


def _place(message: ChatMessage, token: str, path: str) -> ChatMessage:
    content = message.content
    if isinstance(content, str):
        _check_count(content.count(token), 0, token, path)
        return message
    tokens = sum(part.text.count(token) for part in content or () if isinstance(part, TextPart))
    if content is None or not tokens:
        return message
    images = [part for part in content if not isinstance(part, TextPart)]
    _check_count(tokens, len(images), token, path)
    moved = frozenset(part.path for part in images[:tokens])
    next_image = iter(images[:tokens])
    parts = [
        piece
        for part in content
        if part.path not in moved
        for piece in (_split(part, token, next_image) if isinstance(part, TextPart) else (part,))
    ]
    return replace(message, content=tuple(parts))


def _split(part: TextPart, token: str, next_image: Iterator[ImagePart | EmbedsPart]) -> Iterator[Part]:
    first, *rest = part.text.split(token)
    if first or not rest:
        yield replace(part, text=first)
    for text in rest:
        yield next(next_image)
        if text:
            yield replace(part, text=text)


def _check_count(tokens: int, images: int, token: str, path: str) -> None:
    if tokens > images:
        raise InvalidRequest(
            f"The text has {tokens} {token!r} but the message has {images} image(s); add images, or remove the token.",
            param=path,
        )
