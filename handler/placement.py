"""`image_placeholder_token`: a literal token in the text marks where the next image of the message goes."""

from collections.abc import Iterator
from dataclasses import replace

from handler.errors import InvalidRequest
from handler.payload.chat import ChatMessage, ChatRequest
from handler.payload.parts import EmbedsPart, ImagePart, Part, TextPart


def place_images(request: ChatRequest, token: str, repeats: int = 1) -> ChatRequest:
    """Move the images of each user message to where `token` stands in its texts, in order; `repeats` is that of
    `collapse`.

    In other messages the token is a text like any other: a model may well say it. Images beyond the last token stay
    where the content list has them. A token without an image raises InvalidRequest: a prompt that speaks of an image
    which is not there would be answered about nothing.
    """
    return replace(
        request,
        messages=tuple(
            _placed(_collapsed(message, token, repeats), token, f"messages[{i}]") if message.role == "user" else message
            for i, message in enumerate(request.messages)
        ),
    )


def collapse(text: str, token: str, repeats: int) -> str:
    """`text` with one `token` for every `repeats` of them that stand side by side; fewer stay as they are.

    vLLM 0.5 wanted the token of an image as often as the image has features (`image_feature_size`), where it wants
    one token today and counts the features itself.
    """
    return text.replace(token * repeats, token)


def _collapsed(message: ChatMessage, token: str, repeats: int) -> ChatMessage:
    content = message.content
    if repeats == 1 or content is None:
        return message
    if isinstance(content, str):
        return replace(message, content=collapse(content, token, repeats))
    return replace(
        message,
        content=tuple(
            replace(part, text=collapse(part.text, token, repeats)) if isinstance(part, TextPart) else part
            for part in content
        ),
    )


def _placed(message: ChatMessage, token: str, path: str) -> ChatMessage:
    content = message.content
    if isinstance(content, str):
        _check_count(content.count(token), 0, token, f"{path}.content")
        return message
    if content is None or not (marks := sum(_marks(part, token) for part in content)):
        return message
    images = [part for part in content if not isinstance(part, TextPart)]
    _check_count(marks, len(images), token, f"{path}.content")
    marked = iter(images[:marks])
    moved = frozenset(part.path for part in images[:marks])
    parts = [
        piece
        for part in content
        if part.path not in moved
        for piece in (_split(part, token, marked) if isinstance(part, TextPart) else (part,))
    ]
    return replace(message, content=tuple(parts))


def _marks(part: Part, token: str) -> int:
    return part.text.count(token) if isinstance(part, TextPart) else 0


def _split(part: TextPart, token: str, marked: Iterator[ImagePart | EmbedsPart]) -> Iterator[Part]:
    first, *rest = part.text.split(token)
    if first or not rest:
        yield replace(part, text=first)
    for text in rest:
        yield next(marked)
        if text:
            yield replace(part, text=text)


def _check_count(marks: int, images: int, token: str, path: str) -> None:
    if marks > images:
        raise InvalidRequest(
            f"The text has {marks} {token!r} but the message has {images} image(s); "
            "add the images, or leave the token out.",
            param=path,
        )
