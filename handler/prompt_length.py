"""The texts of a prompt and the model's context: a prompt that cannot fit is refused before anything is made of it."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from handler.engine import ModelCard
from handler.errors import InvalidRequest

# A tokenizer reads a megabyte in about a second, and all requests wait for it. The longest token of many vocabularies is a
# run of a hundred blanks; the mean of real text is three to five characters.
QUICK_CHARACTERS = 2**20
MEAN_CHARACTERS = 16


def check_length(texts: Iterable[str], card: ModelCard, path: str, parameters: Mapping[str, Any]) -> None:
    """Raises InvalidRequest if `texts` together have more characters than a prompt of as many tokens as the model takes, or
    than are tokenized in a few seconds: that much of a prompt that is to be truncated is read."""
    if card.max_characters is None:
        return
    limit = max(QUICK_CHARACTERS, MEAN_CHARACTERS * card.max_model_len)
    if parameters.get("truncate_prompt_tokens") is None:
        limit = min(limit, card.max_characters)
    count = sum(map(len, texts))
    if count > limit:
        raise InvalidRequest(
            f"`{path}` has {count} characters. The model's maximum context length is {card.max_model_len} "
            f"tokens, for which at most {limit} characters are read; send a shorter prompt.",
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


def new_tokens(max_length: int, prompt_tokens: int) -> int:
    """How many tokens a completion may have whose prompt counts towards `max_length`. Raises InvalidRequest."""
    if prompt_tokens >= max_length:
        raise InvalidRequest(
            f"`max_length` is {max_length}, which counts the prompt, and that has {prompt_tokens} tokens. Send a larger one, "
            "or `max_tokens` (`max_new_tokens` beside `inputs`), which does not count the prompt.",
            param="max_length",
        )
    return max_length - prompt_tokens
