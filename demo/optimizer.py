"""Modules enter; a pair of optimizers with one learning-rate schedule leaves."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

_WARM_UP = 100
_LAST = 0.03  # of the peak rate


class Optimizer:
    """Muon for the matrices inside of layers, AdamW for embeddings, heads, norms and biases.

    With AdamW alone the vision tower needs about twice the steps to tell shapes apart.
    """

    def __init__(self, rated: Iterable[tuple[nn.Module, float]], steps: int) -> None:
        """`rated` are modules with the factor on their learning rates."""
        inner: list[dict[str, object]] = []
        outer: list[dict[str, object]] = []
        self._weights: list[Tensor] = []
        for module, factor in rated:
            for name, weight in module.named_parameters():
                self._weights.append(weight)
                hidden = weight.dim() == 2 and "layers" in name
                (inner if hidden else outer).append({"params": [weight], "lr": (3e-3 if hidden else 1.5e-3) * factor})
        self._optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(outer, betas=(0.9, 0.98), weight_decay=0.0)]
        if inner:
            muon = torch.optim.Muon(inner, momentum=0.95, weight_decay=0.05, adjust_lr_fn="match_rms_adamw")
            self._optimizers.append(muon)
        self._peaks = [[group["lr"] for group in o.param_groups] for o in self._optimizers]
        self._steps, self._step = steps, 0

    def update(self, loss: Tensor) -> None:
        """One step down the gradient of the loss."""
        self._step += 1
        cosine = 0.5 * (1 + math.cos(math.pi * self._step / self._steps))
        rate = min(1.0, self._step / _WARM_UP) * (_LAST + (1 - _LAST) * cosine)
        for optimizer, peaks in zip(self._optimizers, self._peaks, strict=True):
            optimizer.zero_grad()
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * rate
        loss.backward()
        nn.utils.clip_grad_norm_(self._weights, 1.0)
        for optimizer in self._optimizers:
            optimizer.step()
