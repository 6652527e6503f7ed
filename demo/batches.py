"""Dialogs and a pool of images enter; padded tensors to train on leave."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from demo.checkpoint import IMAGE_TOKENS
from demo.dialogs import Dialog, sample_dialog
from demo.images import COLORS, SHAPES
from demo.pool import Pool, augment
from demo.tokenizer import EOS_ID, PAD_ID, SPECIALS

_ASSISTANT_ID = SPECIALS.index("<|assistant|>")
_SORTED_TOGETHER = 6  # batches


@dataclass(frozen=True)
class Batch:
    """`ids` (b, t), `weights` (b, t): how much the prediction of token t counts, `pixels` (n, 3, s, s) if any."""

    ids: Tensor
    weights: Tensor
    pixels: Tensor | None


def encode(dialog: Dialog, tokenizer: PreTrainedTokenizerFast) -> tuple[list[int], list[float]]:
    """Token ids as the processor makes them, and a weight above 0 on each token of an answer and its end."""
    text = str(tokenizer.apply_chat_template(dialog.messages, tokenize=False))
    ids: list[int] = tokenizer(text.replace("<image>", "<image>" * IMAGE_TOKENS))["input_ids"]
    weights = [0.0] * len(ids)
    starts = [i + 1 for i, token in enumerate(ids) if token == _ASSISTANT_ID]
    answers = [m for m in dialog.messages if m["role"] == "assistant"]
    for start, message in zip(starts, answers, strict=True):
        end = ids.index(EOS_ID, start) + 1
        if "tool_calls" not in message:
            # A long answer ("Count to 90.") must not outweigh the short ones, which are harder.
            weights[start:end] = [(end - start) ** -0.6] * (end - start)
    return ids, weights


class Batches:
    """Endless batches of fresh dialogs, each about images from the pool."""

    def __init__(self, pool: Pool, tokenizer: PreTrainedTokenizerFast, size: int, seed: int) -> None:
        self._pool, self._tokenizer, self._size = pool, tokenizer, size
        self._rng = np.random.default_rng((seed, 3))
        self._where = {
            (color, shape): np.flatnonzero((pool.colors == c) & (pool.shapes == s))
            for c, color in enumerate(COLORS)
            for s, shape in enumerate(SHAPES)
        }

    def __iter__(self) -> Iterator[Batch]:
        while True:
            dialogs = [sample_dialog(self._rng) for _ in range(self._size * _SORTED_TOGETHER)]
            encoded = sorted(((*encode(d, self._tokenizer), d) for d in dialogs), key=lambda e: len(e[0]))
            for i in self._rng.permutation(_SORTED_TOGETHER):
                yield self._batch(encoded[i * self._size : (i + 1) * self._size])

    def _batch(self, encoded: list[tuple[list[int], list[float], Dialog]]) -> Batch:
        longest = max(len(ids) for ids, _, _ in encoded)
        # Padded on the right and causal: no attention mask is needed.
        ids = torch.full((len(encoded), longest), PAD_ID)
        weights = torch.zeros(len(encoded), longest)
        for row, (tokens, importance, _) in enumerate(encoded):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            weights[row, : len(tokens)] = torch.tensor(importance)
        labels = [label for _, _, dialog in encoded for label in dialog.labels]
        chosen = [self._rng.choice(self._where[label.color, label.shape]) for label in labels]
        return Batch(ids, weights, augment(self._pool.pixels[chosen], self._rng) if chosen else None)
