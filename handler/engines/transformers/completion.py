"""A request in the engine, and its completions as they grow: a chosen token in, a Delta out."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch

from handler.engine import MIN_LOGPROB, Delta, Prompt, ReadPrompt, Token
from handler.engines.transformers.parameters import Sampling
from handler.engines.transformers.prompts import Inputs
from handler.engines.transformers.sampling import Sampler
from handler.engines.transformers.text import CompletionText
from handler.errors import LumiError


class TokenTexts:
    """The texts of single tokens, kept, since each prompt and each list of log probabilities needs many."""

    def __init__(self, tokenizer: Any) -> None:
        self._text = lru_cache(maxsize=None)(lambda token: str(tokenizer.decode([token])))

    def token(self, number: int, logprob: float, likeliest: tuple[Token, ...] = (), rank: int | None = None) -> Token:
        """The token `number` with its text and log probability."""
        return Token(number, self._text(number), max(MIN_LOGPROB, logprob), likeliest, rank)

    def plain(self, number: int) -> Token:
        """The token `number` with its text."""
        return Token(number, self._text(number))


@dataclass(eq=False)
class Request:
    """A text of a prompt, whose completions are asked for. `ends` are the tokens that end one silently. `deliver` takes
    what becomes of it, from the engine's thread. Setting `cancelled` ends it. `is_read` says that a delta has gone out."""

    prompt: Prompt
    number: int
    inputs: Inputs
    sampling: Sampling
    max_tokens: int
    ends: frozenset[int]
    deliver: Callable[[Delta | LumiError], None]
    cancelled: bool = False
    is_read: bool = False


@dataclass(eq=False)
class Completion:
    """One of the completions of a request: a row of the batch."""

    request: Request
    number: int
    tokenizer: Any
    texts: TokenTexts
    device: torch.device
    output: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        request = self.request
        self._tokens: list[Token] = []
        stops = frozenset(request.sampling.stop_token_ids)
        self.sampler = Sampler(request.sampling, request.ends | stops, self.number, self.device)
        self._text = CompletionText(self.tokenizer, request.inputs.ids, request.sampling)

    def add(self, number: int, token: Token | None) -> Delta | None:
        """The next token; `token` has its log probability, if that is wanted. What is to be delivered now: a chunk of a
        stream, or the whole at its end. It has ended when the delta has a `finish_reason`."""
        prompt = self.request.prompt
        self.output.append(number)
        self._tokens.append(token or (self.texts.plain(number) if prompt.token_texts else Token(number)))
        reason, stop = self._end(number)
        if reason is None and not prompt.stream:
            return None
        tokens, self._tokens = tuple(self._tokens), []
        return Delta(
            text=self._text.take(ended=reason is not None),
            tokens=tokens,
            text_index=self.request.number,
            index=self.number,
            finish_reason=reason,
            stop_reason=stop,
            prompt=self._read_prompt(),
        )

    def _read_prompt(self) -> ReadPrompt | None:
        request, inputs = self.request, self.request.inputs
        if request.is_read:
            return None
        request.is_read = True
        tokens: tuple[Token, ...] = ()
        if request.prompt.prompt_tokens:
            make = self.texts.plain if request.prompt.token_texts else Token
            tokens = tuple(make(number) for number in inputs.ids)
        return ReadPrompt(len(inputs.ids), inputs.text, tokens)

    def _end(self, number: int) -> tuple[str | None, int | str | None]:
        """The finish reason and what stopped it, if it has ended."""
        sampling = self.request.sampling
        is_end = number in self.request.ends
        if is_end or number in sampling.stop_token_ids:
            if sampling.include_stop_str_in_output:
                self._text.add(number, can_stop=False)
            return "stop", None if is_end else number
        stop = self._text.add(number, can_stop=len(self.output) > sampling.min_tokens)
        if stop is not None:
            return "stop", stop
        return ("length" if len(self.output) >= self.request.max_tokens else None), None
