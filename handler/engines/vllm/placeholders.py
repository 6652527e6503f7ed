"""The tokens by which a model's prompt marks media, and text in which none of them can come to life.

A user who types `<image>` means seven characters. The tokenizer would make the model's image token of them, and bind a
image to the wrong place or fail on the count; so a zero-width character is put inside it.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from vllm.model_executor.model_loader import get_model_cls
from vllm.renderers.chat_utils import MODALITY_PLACEHOLDERS_MAP

# Tried in this order: a word joiner is invisible; some tokenizers drop invisible characters, none drops a blank.
_SEPARATORS = ("\u2060", "\u200b", " ")
_ID_FIELD = re.compile(r"(image|video|audio|vision|media|boi|eoi|boa|eoa)\w*token\w*?(_id|_index)$|^(boi|eoi)_token")


_LONGEST_TOKEN = 64  # characters; what may come together at the seam of two texts


Placeholder = Callable[[int], str | None]  # how a prompt marks its n-th image


class Neutraliser:
    """Makes text harmless: `neutralise` for one text, `run` for texts that a template puts side by side, `deep` for every
    text in a JSON value.
    """

    def __init__(self, pattern: re.Pattern[str] | None, separator: str) -> None:
        self._pattern = pattern
        self._separator = separator

    def neutralise(self, text: str) -> str:
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda token: token[0][0] + self._separator + token[0][1:], text)

    def run(self, texts: Iterable[str]) -> Iterator[str]:
        """The texts, harmless even when joined: `<ima` and `ge>` are pushed apart."""
        tail = ""
        for text in map(self.neutralise, texts):
            apart = text
            if self._pattern is not None and self._pattern.search(tail + text[:_LONGEST_TOKEN]):
                apart = self._separator + text
            tail = (tail + apart)[-_LONGEST_TOKEN:]
            yield apart

    def deep(self, value: Any) -> Any:
        """Keys and texts alike: templates print both."""
        if isinstance(value, str):
            return self.neutralise(value)
        if isinstance(value, Mapping):
            return {self.neutralise(str(key)): self.deep(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.deep(inner) for inner in value]
        return value


def neutraliser(model_config: Any, tokenizer: Any) -> Neutraliser:
    """The neutraliser for a loaded model; `tokenizer` decides which separator really breaks its tokens."""
    if not model_config.is_multimodal_model:
        return Neutraliser(None, "")
    tokens = sorted(set(_tokens(model_config, tokenizer)), key=len, reverse=True)
    pattern = re.compile("|".join(_expression(token) for token in tokens))
    special = _special_ids(tokenizer, tokens)
    encode: Callable[[str], list[int]] = lambda text: tokenizer.encode(text, add_special_tokens=False)  # noqa: E731
    for separator in _SEPARATORS:
        candidate = Neutraliser(pattern, separator)
        if not any(special.intersection(encode(candidate.neutralise(token))) for token in tokens):
            return candidate
    return Neutraliser(pattern, _SEPARATORS[-1])


def image_placeholder(model_config: Any) -> Placeholder:
    """How the model's raw prompts mark images; None where they do not."""

    def placeholder(number: int) -> str | None:
        try:
            found: str | None = get_model_cls(model_config).get_placeholder_str("image", number)
        except (AttributeError, ValueError, NotImplementedError):  # text only, or media of another kind
            return None
        return found

    return placeholder


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
