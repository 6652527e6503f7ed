"""Where the images of a raw prompt stand: at their marks in its text."""

import re
from collections.abc import Collection, Iterator

from handler.errors import InvalidRequest
from handler.payload.completion import RawText
from handler.payload.parts import ImagePart

GENERIC = "<image>"  # what LMI's and vLLM's documents write, whatever the model's own mark is


def marks_of(placeholder: str | None, token: str | None, repeats: int = 1) -> re.Pattern[str]:
    """The marks in a model's raw prompts: its own (with any number, where it is numbered), the operator's
    `image_placeholder_token`, and `<image>`. So many `repeats` of one side by side are a mark as well, as vLLM 0.5's
    clients wrote it (`image_feature_size`)."""
    literal = {mark for mark in (placeholder, token, GENERIC) if mark}
    single = [re.sub(r"\d+", lambda _: r"(?:\d+)", re.escape(mark)) for mark in literal]
    single.sort(key=len, reverse=True)
    repeated = [f"(?:{mark}){{{repeats}}}" for mark in single] if repeats > 1 else []
    return re.compile("|".join((*repeated, *single)))


def placed(text: RawText, marks: re.Pattern[str]) -> tuple[str | ImagePart, ...]:
    """The prompt's texts and images in order. Where no mark stands in it, its images come first, each on a line of
    its own. Raises InvalidRequest where marks and images do not match."""
    if not text.text and not text.images:
        raise InvalidRequest("The prompt is empty.", param=text.path)
    found = list(marks.finditer(text.text))
    if not found:
        return (*(part for image in text.images for part in (image, "\n")), text.text)
    if len(found) != len(text.images):
        raise InvalidRequest(
            f"The prompt marks {len(found)} image(s) ({found[0][0]!r}) but comes with {len(text.images)}; "
            "send as many of one as of the other.",
            param=text.path,
        )
    images = [text.images[place] for place in _places(found, text.path)]
    return tuple(_interleaved(text.text, found, images))


def _places(found: Collection[re.Match[str]], path: str) -> list[int]:
    """Which image each mark means: a numbered mark the one of its number, any other the next."""
    numbers = [re.search(r"\d+", mark[0]) for mark in found]
    if not all(numbers):
        return list(range(len(found)))
    places = [int(number[0]) - 1 for number in numbers if number]
    if sorted(places) != list(range(len(found))):
        raise InvalidRequest("The prompt's marks are not numbered 1, 2, 3 ...; each image has one.", param=path)
    return places


def _interleaved(
    text: str, found: Collection[re.Match[str]], images: Collection[ImagePart]
) -> Iterator[str | ImagePart]:
    end = 0
    for mark, image in zip(found, images, strict=True):
        if between := text[end : mark.start()]:
            yield between
        yield image
        end = mark.end()
    if rest := text[end:]:
        yield rest
