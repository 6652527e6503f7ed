"""Token ids -> the text of a completion, piece by piece, up to a stop string."""

from collections.abc import Sequence
from typing import Any

from tokenizers.decoders import DecodeStream

from handler.engines.transformers.parameters import Sampling


class CompletionText:
    """The text of one completion. It begins after `prompt`, whose last token decides about a leading space."""

    def __init__(self, tokenizer: Any, prompt: Sequence[int], sampling: Sampling) -> None:
        self._tokenizer = tokenizer.backend_tokenizer
        self._sampling = sampling
        self._stream = DecodeStream(ids=list(prompt), skip_special_tokens=sampling.skip_special_tokens)
        # What might be the beginning of a stop string is held back.
        keeps_stop = sampling.include_stop_str_in_output
        self._held = 0 if keeps_stop else max((len(stop) - 1 for stop in sampling.stop), default=0)
        self._text = ""
        self._taken = 0

    def add(self, token: int, *, can_stop: bool) -> str | None:
        """The stop string that this token completes, if any; the text then ends before it."""
        before = len(self._text)
        self._text += self._decode(token)
        if not can_stop:
            return None
        for stop in self._sampling.stop:
            at = self._text.find(stop, max(before - len(stop) + 1, 0))
            if at >= 0:
                self._text = self._text[: at + len(stop) if self._sampling.include_stop_str_in_output else at]
                return stop
        return None

    def take(self, *, ended: bool) -> str:
        """The text since the last call, without what is held back."""
        end = len(self._text) if ended else max(len(self._text) - self._held, self._taken)
        piece = self._text[self._taken : end]
        self._taken = end
        return piece

    def _decode(self, token: int) -> str:
        try:
            return self._stream.step(self._tokenizer, token) or ""
        except Exception as fault:  # the library has one exception class for all
            if not str(fault).startswith("Invalid prefix"):
                raise
            # Bytes that are no character may change the text before them; the stream begins anew after those.
            self._stream = DecodeStream(skip_special_tokens=self._sampling.skip_special_tokens)
            return self._stream.step(self._tokenizer, token) or ""
