"""Requests and responses of LMI's rolling batch, for code that builds or reads them; vLLM does not make them here."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Token:
    """One generated token; `log_prob` is a natural logarithm."""

    id: int
    text: str
    log_prob: float | None = None
    special_token: bool | None = None
    error_msg: str | None = None

    def as_dict(self) -> dict[str, Any]:
        told = {"special_token": self.special_token, "error_msg": self.error_msg}
        return {
            "id": self.id,
            "text": self.text,
            "log_prob": self.log_prob,
            **{name: value for name, value in told.items() if value},
        }

    def as_tgi_dict(self) -> dict[str, Any]:
        special = {"special": self.special_token} if self.special_token else {}
        return {"id": self.id, "text": self.text, "logprob": self.log_prob, **special}


@dataclass
class Sequence:
    """The tokens of one answer, handed out one by one."""

    tokens: list[Token] = field(default_factory=list)
    top_tokens: list[list[Token]] = field(default_factory=list)
    cumulative_log_prob: float = 0.0
    finish_reason: str | None = None
    stop_reason: str | None = None
    _last: int | None = field(default=None, repr=False)
    _next: int = field(default=0, repr=False)
    _next_top: int = field(default=0, repr=False)

    def set_next_token(self, token: Token, is_last_token: bool = False) -> None:
        if is_last_token:
            self._last = len(self.tokens)
        self.tokens.append(token)

    def set_next_top_tokens(self, top_tokens: list[Token]) -> None:
        self.top_tokens.append(top_tokens)

    def has_next_token(self) -> bool:
        return self._next < len(self.tokens)

    def has_next_top_tokens(self) -> bool:
        return self._next_top < len(self.top_tokens)

    def get_next_token(self) -> tuple[Token | None, bool, bool]:
        """The token, whether it is the first, and whether it is the last."""
        if not self.has_next_token():
            return None, False, False
        index, self._next = self._next, self._next + 1
        return self.tokens[index], index == 0, index == self._last

    def get_next_top_tokens(self) -> list[Token] | None:
        if not self.has_next_top_tokens():
            return None
        index, self._next_top = self._next_top, self._next_top + 1
        return self.top_tokens[index]


@dataclass
class RequestInput:
    """A parsed request; `parameters` are those of generation."""

    request_id: int = 0
    output_formatter: Callable[..., Any] | str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    server_parameters: dict[str, Any] = field(default_factory=dict)
    tgi_compat: bool = False


@dataclass
class TextInput(RequestInput):
    """A request for text. An input formatter may return one; its text and parameters are what is served."""

    input_text: Any = None
    input_ids: list[int] = field(default_factory=list)
    adapters: Any = None
    tokenizer: Any = None
    found_adapters: bool = False

    def prompt_tokens_length(self) -> int:
        return len(self.input_ids)


@dataclass
class RequestOutput:
    """What has come of a request so far."""

    request_id: int
    input: RequestInput
    finished: bool = False


@dataclass
class TextGenerationOutput(RequestOutput):
    """Generated sequences by their index."""

    sequences: dict[int, Sequence] = field(default_factory=dict)
    best_sequence_index: int = 0
    prompt_tokens_details: list[Token] = field(default_factory=list)
    other_sequences_indices: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sequences.setdefault(self.best_sequence_index, Sequence())

    def set_next_token(
        self,
        token: Token,
        sequence_index: int = 0,
        is_last_token: bool = False,
        finish_reason: str | None = None,
    ) -> None:
        sequence = self.sequences.setdefault(sequence_index, Sequence())
        sequence.set_next_token(token, is_last_token)
        sequence.finish_reason = finish_reason or sequence.finish_reason

    def set_finish_reason(self, finish_reason: str, sequence_index: int = 0) -> None:
        self.sequences[sequence_index].finish_reason = finish_reason

    def get_tokens_as_dict(self, sequence_index: int = 0) -> list[dict[str, Any]]:
        return [self._written(token) for token in self.sequences[sequence_index].tokens]

    def get_prompt_tokens_as_dict(self) -> list[dict[str, Any]]:
        return [self._written(token) for token in self.prompt_tokens_details]

    def get_top_tokens_as_dict(self, sequence_index: int = 0) -> list[list[dict[str, Any]]]:
        return [[self._written(token) for token in tokens] for tokens in self.sequences[sequence_index].top_tokens]

    def _written(self, token: Token) -> dict[str, Any]:
        return token.as_tgi_dict() if self.input.tgi_compat else token.as_dict()
