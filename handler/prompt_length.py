"""The texts of a prompt and the model's context: a prompt that cannot fit is refused before anything is made of it."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from handler.engine import ModelCard
from handler.errors import InvalidRequest


def check_length(texts: Iterable[str], card: ModelCard, path: str) -> None:
    """Raises InvalidRequest if `texts` together have more characters than a prompt of as many tokens as the model takes."""
    limit = card.max_characters
    if limit is None:
        return
    count = sum(map(len, texts))
    if count > limit:
        raise InvalidRequest(
            f"`{path}` has {count} characters. The model takes {card.max_model_len} tokens, which have {limit} characters "
            "at most; send a shorter prompt.",
            param=path,
            code="prompt_too_long",
        )


def texts_in(value: Any) -> Iterator[str]:
    """The texts of a JSON value, names included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield name
            yield from texts_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from texts_in(inner)
