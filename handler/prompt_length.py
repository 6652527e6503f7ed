"""The texts of a prompt and the model's context: a prompt that cannot fit is refused before anything is made of it."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from handler.engine import ModelCard
from handler.errors import InvalidRequest

_TIMES_TRUNCATED = 16  # a prompt that is to be truncated may be so many times longer; all of it is tokenized


def check_length(texts: Iterable[str], card: ModelCard, path: str, parameters: Mapping[str, Any]) -> None:
    """Raises InvalidRequest if `texts` together have more characters than a prompt of as many tokens as the model takes."""
    if card.max_characters is None:
        return
    truncates = parameters.get("truncate_prompt_tokens") is not None
    limit = card.max_characters * (_TIMES_TRUNCATED if truncates else 1)
    count = sum(map(len, texts))
    if count > limit:
        raise InvalidRequest(
            f"`{path}` has {count} characters. The model takes {card.max_model_len} tokens, which have "
            f"{card.max_characters} characters at most; send a shorter prompt.",
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
