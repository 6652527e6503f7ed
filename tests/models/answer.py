"""What a model makes of one chat, whoever ran it."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Answer:
    """Token ids of the prompt and of the answer, and for each token of the answer the log probabilities of the likeliest,
    by their ids. `fault` is why there is none."""

    prompt: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    logprobs: list[Mapping[int, float]] = field(default_factory=list)
    fault: str | None = None


Answers = Mapping[str, Answer]  # by the name of the chat
