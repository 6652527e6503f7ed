"""The placeholder tokens of a model's media -> an escaper of the texts in which a user types them.

A user who types `<image>` means seven characters. The tokenizer would make the model's image token of them, and an image
would end up in the wrong place, or the number of images would be wrong. So an invisible character is put inside them.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

# Tried in this order. Some tokenizers drop invisible characters; none drops a blank.
_SEPARATORS = ("\u2060", "\u200b", " ")
_ID_FIELD = re.compile(r"(image|video|audio|vision|media|boi|eoi|boa|eoa)\w*token\w*?(_id|_index)$|^(boi|eoi)_token")
_MAX_TOKEN_LENGTH = 64  # in characters; where two texts meet, a token may begin in one and end in the other


class PlaceholderEscaper:
    """Escapes placeholder tokens: in one text (`escape`), in texts that a template joins (`escape_run`), and in all texts
    of a JSON value (`escape_json`)."""

    def __init__(self, pattern: re.Pattern[str] | None, separator: str) -> None:
        self._pattern = pattern
        self._separator = separator

    def escape(self, text: str) -> str:
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda token: token[0][0] + self._separator + token[0][1:], text)

    def escape_run(self, texts: Iterable[str]) -> Iterator[str]:
        """The texts, escaped so that joining them makes no token either: `<ima` and `ge>` are separated."""
        return map(self.run_of_texts(), texts)

    def run_of_texts(self) -> Callable[[str], str]:
        """What escapes one text after another of a prompt. A template may join any of them: some put all images first, and
        some put nothing between messages."""
        tail = ""

        def escape(text: str) -> str:
            nonlocal tail
            apart = self.escape(text)
            if self._pattern is not None and self._pattern.search(tail + apart[:_MAX_TOKEN_LENGTH]):
                apart = self._separator + apart
            tail = (tail + apart)[-_MAX_TOKEN_LENGTH:]
            return apart

        return escape

    def escape_json(self, value: Any) -> Any:
        """`value` with all keys and texts escaped: templates print both."""
        if isinstance(value, str):
            return self.escape(value)
        if isinstance(value, Mapping):
            return {self.escape(str(key)): self.escape_json(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.escape_json(inner) for inner in value]
        return value


def escaper_of(placeholders: Iterable[str], tokenizer: Any) -> PlaceholderEscaper:
    """The escaper of these tokens. `tokenizer` decides which separator breaks them."""
    tokens = sorted(set(placeholders), key=len, reverse=True)
    if not tokens:
        return PlaceholderEscaper(None, "")
    pattern = re.compile("|".join(_expression(token) for token in tokens))
    vocabulary = tokenizer.get_vocab()
    special = {vocabulary[token] for token in tokens if token in vocabulary}
    encode: Callable[[str], list[int]] = lambda text: tokenizer.encode(text, add_special_tokens=False)  # noqa: E731
    for separator in _SEPARATORS:
        candidate = PlaceholderEscaper(pattern, separator)
        if not any(special.intersection(encode(candidate.escape(token))) for token in tokens):
            return candidate
    return PlaceholderEscaper(pattern, _SEPARATORS[-1])


def config_tokens(config: Any, tokenizer: Any) -> Iterator[str]:
    """The tokens whose ids a transformers configuration names as those of media."""
    for name, value in vars(config).items():
        if _ID_FIELD.search(name) and isinstance(value, int):
            token = tokenizer.convert_ids_to_tokens(value)
            if token and len(token) > 1:
                yield token


def _expression(token: str) -> str:
    # Numbered placeholders (<|image_1|>) stand for every number.
    return re.sub(r"\d+", lambda _: r"\d+", re.escape(token))
