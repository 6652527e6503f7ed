"""`image_placeholder_token`: a literal token in the text marks where the next picture of the message goes."""

from collections.abc import Iterator
from dataclasses import replace

from handler.errors import InvalidRequest
from handler.payload.chat import ChatMessage, ChatRequest
from handler.payload.parts import ImagePart, TextPart


def place_pictures(request: ChatRequest, token: str) -> ChatRequest:
    """Move the pictures of each user message to where `token` stands in its texts, in order.

    In other messages the token is a text like any other: a model may well say it. Pictures beyond the last token stay
    where the content list has them. A token without a picture raises InvalidRequest: a prompt that speaks of a picture
    which is not there would be answered about nothing.
    """
    return replace(
        request,
        messages=tuple(_placed(message, token, f"messages[{i}]") for i, message in enumerate(request.messages)),
    )


def _placed(message: ChatMessage, token: str, path: str) -> ChatMessage:
    content = message.content
    if message.role != "user":
        return message
    if isinstance(content, str):
        _refuse_excess(content.count(token), 0, token, f"{path}.content")
        return message
    if content is None or not (marks := sum(_marks(part, token) for part in content)):
        return message
    pictures = [part for part in content if isinstance(part, ImagePart)]
    _refuse_excess(marks, len(pictures), token, f"{path}.content")
    marked = iter(pictures[:marks])
    moved = frozenset(part.path for part in pictures[:marks])
    parts = [
        piece
        for part in content
        if part.path not in moved
        for piece in (_split(part, token, marked) if isinstance(part, TextPart) else (part,))
    ]
    return replace(message, content=tuple(parts))


def _marks(part: TextPart | ImagePart, token: str) -> int:
    return part.text.count(token) if isinstance(part, TextPart) else 0


def _split(part: TextPart, token: str, marked: Iterator[ImagePart]) -> Iterator[TextPart | ImagePart]:
    first, *rest = part.text.split(token)
    if first or not rest:
        yield replace(part, text=first)
    for text in rest:
        yield next(marked)
        if text:
            yield replace(part, text=text)


def _refuse_excess(marks: int, pictures: int, token: str, path: str) -> None:
    if marks > pictures:
        raise InvalidRequest(
            f"The text has {marks} {token!r} but the message has {pictures} picture(s); "
            "add the pictures, or leave the token out.",
            param=path,
        )
