"""Logits of a step -> the tokens that are chosen, each row by the sampling of its own request.

The processors are transformers' own, so that a temperature or a top_p means what it means in `generate`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from handler.engines.transformers.parameters import Sampling

GREEDY_BELOW = 1e-5  # temperatures that vLLM takes for zero


class Sampler:
    """Chooses the tokens of one completion. `ends` are the ids that end it, which it may not choose before its
    `min_tokens`; `number` counts the completions of a request, which have seeds of their own."""

    def __init__(self, sampling: Sampling, ends: frozenset[int], number: int, device: torch.device) -> None:
        self._sampling = sampling
        self._ends = sorted(ends)
        self._greedy = sampling.temperature < GREEDY_BELOW
        self._penalty = (
            RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty) if sampling.repetition_penalty != 1 else None
        )
        self._warpers = LogitsProcessorList([] if self._greedy else _warpers(sampling))
        self._generator: torch.Generator | None = None
        if sampling.seed is not None:
            self._generator = torch.Generator(device).manual_seed(sampling.seed + number)

    @property
    def takes_likeliest(self) -> bool:
        """Whether it always chooses the token with the highest logit."""
        return (
            self._greedy and self._penalty is None and not self._sampling.logit_bias and not self._sampling.min_tokens
        )

    def choose(self, logits: torch.Tensor, prompt: Sequence[int], output: Sequence[int]) -> int:
        """The next token after `output`. `logits` has one row."""
        scores = logits.float().clone()
        size = scores.shape[-1]
        if self._penalty is not None:
            # Image tokens may have ids beyond the logits.
            seen = [token for token in (*prompt, *output) if token < size]
            scores = self._penalty(torch.tensor([seen], device=scores.device), scores)
        for token, bias in self._sampling.logit_bias.items():
            if token < size:
                scores[:, token] += bias
        if len(output) < self._sampling.min_tokens:
            scores[:, [end for end in self._ends if end < size]] = -torch.inf
        if self._greedy:
            return int(scores.argmax())
        probabilities = self._warpers(None, scores).softmax(-1)
        if not probabilities.isfinite().all():
            # Parameters that are each allowed may leave no token (all of them end the text, before `min_tokens`). On a GPU
            # sampling from that would end the process.
            return int(logits.argmax())
        return int(torch.multinomial(probabilities, 1, generator=self._generator))


def _warpers(sampling: Sampling) -> list[Any]:
    """In the order in which `generate` applies them."""
    warpers: list[Any] = []
    if sampling.temperature != 1:
        warpers.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_k:
        warpers.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        warpers.append(TopPLogitsWarper(sampling.top_p))
    if sampling.min_p:
        warpers.append(MinPLogitsWarper(sampling.min_p))
    return warpers
