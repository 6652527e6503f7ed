"""The placeholder tokens of a model's media, and text in which they are escaped.

A user who types `<image>` means seven characters. The tokenizer would make the model's image token of them, and an image
would end up in the wrong place, or the number of images would be wrong. So an invisible character is put inside them.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from vllm.model_executor.model_loader import get_model_cls
from vllm.renderers.chat_utils import MODALITY_PLACEHOLDERS_MAP

# Tried in this order. Some tokenizers drop invisible characters; none drops a blank.
_SEPARATORS = ("\u2060", "\u200b", " ")
_ID_FIELD = re.compile(r"(image|video|audio|vision|media|boi|eoi|boa|eoa)\w*token\w*?(_id|_index)$|^(boi|eoi)_token")


_MAX_TOKEN_LENGTH = 64  # in characters; where two texts meet, a token may begin in one and end in the other


Placeholder = Callable[[int], str | None]  # the text that stands for the n-th image of a prompt


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
        tail = ""
        for text in map(self.escape, texts):
            apart = text
            if self._pattern is not None and self._pattern.search(tail + text[:_MAX_TOKEN_LENGTH]):
                apart = self._separator + text
            tail = (tail + apart)[-_MAX_TOKEN_LENGTH:]
            yield apart

    def escape_json(self, value: Any) -> Any:
        """`value` with all keys and texts escaped: templates print both."""
        if isinstance(value, str):
            return self.escape(value)
        if isinstance(value, Mapping):
            return {self.escape(str(key)): self.escape_json(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.escape_json(inner) for inner in value]
        return value


def placeholder_escaper(model_config: Any, tokenizer: Any) -> PlaceholderEscaper:
    """The escaper for a model. `tokenizer` decides which separator breaks its tokens."""
    if not model_config.is_multimodal_model:
        return PlaceholderEscaper(None, "")
    tokens = sorted(set(_tokens(model_config, tokenizer)), key=len, reverse=True)
    pattern = re.compile("|".join(_expression(token) for token in tokens))
    special = _special_ids(tokenizer, tokens)
    encode: Callable[[str], list[int]] = lambda text: tokenizer.encode(text, add_special_tokens=False)  # noqa: E731
    for separator in _SEPARATORS:
        candidate = PlaceholderEscaper(pattern, separator)
        if not any(special.intersection(encode(candidate.escape(token))) for token in tokens):
            return candidate
    return PlaceholderEscaper(pattern, _SEPARATORS[-1])


def image_placeholder(model_config: Any) -> Placeholder:
    """The text that stands for an image in the model's raw prompts; None where there is none."""

    def placeholder(number: int) -> str | None:
        try:
            found: str | None = get_model_cls(model_config).get_placeholder_str("image", number)
        except (AttributeError, ValueError, NotImplementedError):  # text only, or media of another kind
            return None
        return found

    return placeholder


def lacks_placeholder(model_config: Any) -> bool:
    """Whether the model takes media, and no text stands for them in its prompts: its processor places them."""
    model_cls = get_model_cls(model_config)
    for modality in ("image", "audio", "video"):
        try:
            return model_cls.get_placeholder_str(modality, 1) is None
        except (AttributeError, ValueError, NotImplementedError):  # a modality that the model lacks
            continue
    return False


def _tokens(model_config: Any, tokenizer: Any) -> Iterator[str]:
    yield from MODALITY_PLACEHOLDERS_MAP.values()
    for config in (model_config.hf_config, getattr(model_config.hf_config, "thinker_config", None)):
        for name, value in vars(config).items() if config is not None else ():
            if _ID_FIELD.search(name) and isinstance(value, int):
                token = tokenizer.convert_ids_to_tokens(value)
                if token and len(token) > 1:
                    yield token
    model_cls = get_model_cls(model_config)
    vocabulary = [str(token) for token in getattr(tokenizer, "all_special_tokens", ())]
    for modality in ("image", "video", "audio"):
        try:
            placeholder = model_cls.get_placeholder_str(modality, 1)
        except (ValueError, NotImplementedError):  # a modality that the model lacks
            continue
        if placeholder:
            yield placeholder
            yield from (token for token in vocabulary if token in placeholder and len(token) > 1)


def _expression(token: str) -> str:
    # Numbered placeholders (<|image_1|>) stand for every number.
    return re.sub(r"\d+", lambda _: r"\d+", re.escape(token))


def _special_ids(tokenizer: Any, tokens: list[str]) -> set[int]:
    vocabulary = tokenizer.get_vocab()
    return {vocabulary[token] for token in tokens if token in vocabulary}
