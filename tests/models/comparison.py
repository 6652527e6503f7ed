"""Answers of transformers and of Lumi -> where they differ."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest

from tests.models.answer import Answer, Answers

TIE = 1e-3  # two tokens as likely as that: either is the greedy one
TOLERANCE = 1e-3  # what the order of sums in float32 makes of a log probability, and far below what a fault does


@dataclass(frozen=True)
class Comparison:
    """One chat. `prompt` and `token` are the positions of the first token that differs; a token after a tie is not one.
    `logprob` is the largest difference of log probabilities up to there. `fault` is how one side failed and the other did not."""

    prompt: int | None = None
    token: int | None = None
    tie: int | None = None
    logprob: float = 0.0
    fault: str | None = None

    @property
    def is_prompt_equal(self) -> bool:
        return self.prompt is None and self.fault is None

    @property
    def is_answer_equal(self) -> bool:
        return self.token is None and self.fault is None and self.logprob <= TOLERANCE

    def __str__(self) -> str:
        if self.fault is not None:
            return self.fault
        places = [
            f"{name} from {at} on" for name, at in (("prompt", self.prompt), ("answer", self.token)) if at is not None
        ]
        tied = [] if self.tie is None else [f"two tokens tie at {self.tie}"]
        return ", ".join([*places, *tied, f"log probabilities by {self.logprob:.1e}"])


def compare(reference: Answers, served: Answers) -> Mapping[str, Comparison]:
    """By the name of the chat."""
    return {name: compare_one(reference[name], served[name]) for name in reference}


def compare_one(reference: Answer, served: Answer) -> Comparison:
    if reference.fault is not None or served.fault is not None:
        if reference.fault is not None and served.fault is not None:
            return Comparison(fault=f"both refuse: {reference.fault}")
        who = "Lumi" if reference.fault is None else "transformers"
        return Comparison(fault=f"{who} refuses: {served.fault or reference.fault}")
    token = _first_difference(reference.tokens, served.tokens)
    # The logprobs of the first token that differs still have the same text before them.
    same = len(reference.tokens) if token is None else token + 1
    pairs = list(zip(reference.logprobs[:same], served.logprobs[:same], strict=False))
    logprob = max((_distance(*pair) for pair in pairs), default=0.0)
    is_tie = token is not None and token < len(pairs) and _is_tie(reference, served, token)
    prompt = _first_difference(reference.prompt, served.prompt)
    return Comparison(prompt, None if is_tie else token, token if is_tie else None, logprob)


def _first_difference(one: list[int], other: list[int]) -> int | None:
    return next((at for at, pair in enumerate(zip_longest(one, other)) if pair[0] != pair[1]), None)


def _distance(one: Mapping[int, float], other: Mapping[int, float]) -> float:
    """The largest difference of the tokens that both list; of the likeliest, if they share none."""
    shared = one.keys() & other.keys()
    if not shared:
        return abs(max(one.values()) - max(other.values()))
    return max(abs(one[token] - other[token]) for token in shared)


def _is_tie(reference: Answer, served: Answer, at: int) -> bool:
    likelihoods = reference.logprobs[at]
    theirs, ours = reference.tokens[at], served.tokens[at]
    return ours in likelihoods and likelihoods[theirs] - likelihoods[ours] <= TIE
