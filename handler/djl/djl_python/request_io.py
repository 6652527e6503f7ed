"""The data of LMI's rolling batch, for user code that constructs or reads it. vLLM serves here without these types."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Token:
    """One generated token. `log_prob` is a natural logarithm."""

    id: int
    text: str
    log_prob: float | None = None
    special_token: bool | None = None
    error_msg: str | None = None


@dataclass
class Sequence:
    """The tokens of one generated sequence, and the most likely tokens at each position."""

    tokens: list[Token] = field(default_factory=list)
    top_tokens: list[list[Token]] = field(default_factory=list)
    cumulative_log_prob: float = 0.0
    finish_reason: str | None = None
    stop_reason: str | None = None


@dataclass
class RequestInput:
    """A parsed request. `parameters` are the generation parameters."""

    request_id: int = 0
    output_formatter: Callable[..., Any] | str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    server_parameters: dict[str, Any] = field(default_factory=dict)
    tgi_compat: bool = False


@dataclass
class TextInput(RequestInput):
    """A request for text. An input formatter may return one: its text and its parameters are served."""

    input_text: Any = None
    input_ids: list[int] = field(default_factory=list)
    adapters: Any = None
    tokenizer: Any = None
    found_adapters: bool = False


@dataclass
class RequestOutput:
    """The output of a request so far."""

    request_id: int
    input: RequestInput
    finished: bool = False


@dataclass
class TextGenerationOutput(RequestOutput):
    """The generated sequences by index."""

    sequences: dict[int, Sequence] = field(default_factory=lambda: defaultdict(Sequence))
    best_sequence_index: int = 0
    prompt_tokens_details: list[Token] = field(default_factory=list)
    other_sequences_indices: list[int] = field(default_factory=list)
