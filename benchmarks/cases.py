"""The columns of the table: what is sent in each, and how often vLLM's cache of processed images has to be hit."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from images import Album, Size

MODEL = "benchmark"
QUESTION = "What is in the image?"
TURNS = 5
SMALL, SCREEN, CAMERA, QUARTER, SHARED = (320, 240), (1600, 1200), (4000, 3000), (800, 600), (2000, 1500)


@dataclass(frozen=True)
class Request:
    """A body; `known` of its images were sent before."""

    body: bytes
    known: int = 0
    stream: bool = False


Make = Callable[[Album, int, int], list[Request]]


@dataclass(frozen=True)
class Case:
    """A column: `requests(album, n, tokens)` makes n of its requests, in the order in which they are sent; each is
    answered with that many tokens."""

    name: str
    requests: Make


def _text(_: Album, number: int, tokens: int) -> list[Request]:
    return [Request(_body([_turn()], tokens))] * number


def new_images(size: Size, *, images: int = 1, stream: bool = False) -> Make:
    """Requests whose images no server has seen."""

    def requests(album: Album, number: int, tokens: int) -> list[Request]:
        turns = [_turn(*(album.fresh(size) for _ in range(images))) for _ in range(number)]
        return [Request(_body([turn], tokens, stream=stream), stream=stream) for turn in turns]

    return requests


def _again(size: Size) -> Make:
    def requests(album: Album, number: int, tokens: int) -> list[Request]:
        known = int(album.shows_same(size))
        body = _body([_turn(album.same(size))], tokens)
        return [Request(body, known), *[Request(body, 1)] * (number - 1)]

    return requests


def _conversations(size: Size) -> Make:
    def requests(album: Album, number: int, tokens: int) -> list[Request]:
        sent: list[Request] = []
        messages: list[dict[str, Any]] = []
        for i in range(number):
            seen = i % TURNS
            if seen == 0:
                messages = []
            else:
                messages.append({"role": "assistant", "content": "An image."})
            messages.append(_turn(album.fresh(size)))
            sent.append(Request(_body(messages, tokens), known=seen))
        return sent

    return requests


CASES = (
    Case("text", _text),
    Case("320x240", new_images(SMALL)),
    Case("320x240 streamed", new_images(SMALL, stream=True)),
    Case("1600x1200", new_images(SCREEN)),
    Case("4000x3000", new_images(CAMERA)),
    Case("the same 4000x3000 again", _again(CAMERA)),
    Case("4 x 800x600", new_images(QUARTER, images=4)),
    Case("5-turn chat, a 2000x1500 added each turn", _conversations(SHARED)),
)


def _turn(*urls: str) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return {"role": "user", "content": [*parts, {"type": "text", "text": QUESTION}]}


def _body(messages: list[dict[str, Any]], tokens: int, *, stream: bool = False) -> bytes:
    sampling = {"max_tokens": tokens, "ignore_eos": True, "temperature": 0}
    return json.dumps({"model": MODEL, "messages": messages, "stream": stream, **sampling}).encode()
