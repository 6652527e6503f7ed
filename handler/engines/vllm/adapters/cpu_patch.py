"""What vLLM 0.32 gets wrong about adapters on a CPU, mended in its worker.

A token of the model itself has the slot -1. The kernels for GPUs pass it over; those for CPUs index with it, and so compute
the token with whatever adapter has the last slot, as soon as a batch mixes the model with adapters.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU
from vllm.platforms import current_platform
from vllm.v1.engine.async_llm import AsyncLLM

from handler.errors import StartError

_EXTENSION = "worker_extension_cls"


def with_worker(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Engine arguments that take `Worker` into the worker, where it is needed. Raises StartError where another is."""
    if not current_platform.is_cpu() or str(arguments.get("enable_lora")).lower() != "true":
        return dict(arguments)
    if arguments.get(_EXTENSION):
        raise StartError(
            "On a CPU adapters need a worker extension of Lumi's; remove OPTION_WORKER_EXTENSION_CLS or OPTION_ENABLE_LORA."
        )
    return {**arguments, _EXTENSION: f"{__name__}.Worker"}


async def mend(llm: AsyncLLM) -> None:
    """Mend the worker, where it is needed."""
    if getattr(llm.vllm_config.parallel_config, _EXTENSION) == f"{__name__}.Worker":
        await llm.collective_rpc("lumi_keep_rows_of_the_model")


class Worker:
    """vLLM mixes this into its own worker."""

    model_runner: Any

    def lumi_keep_rows_of_the_model(self) -> None:
        """Have every layer keep what the model itself has computed where no adapter is asked for."""
        manager = self.model_runner.lora_manager._adapter_manager  # noqa: SLF001  # vLLM tells of it nowhere else
        for wrapper in manager.punica_wrapper_mapping.values():
            wrapper.__class__ = KeepingPunica


class KeepingPunica(PunicaWrapperCPU):  # type: ignore[misc]  # vllm is untyped here
    """vLLM's, which leaves the rows of `y` as they are whose slot is -1."""

    def add_lora_linear(self, y: torch.Tensor, *how: Any, **more: Any) -> None:
        with _kept(y, self.token_lora_indices):
            super().add_lora_linear(y, *how, **more)

    def add_lora_embedding(self, y: torch.Tensor, *how: Any, **more: Any) -> None:
        with _kept(y, self.token_lora_indices):
            super().add_lora_embedding(y, *how, **more)

    def add_lora_logits(self, y: torch.Tensor, *how: Any, **more: Any) -> None:
        with _kept(y, self.sampler_indices):
            super().add_lora_logits(y, *how, **more)


@contextmanager
def _kept(y: torch.Tensor, slots: torch.Tensor) -> Iterator[None]:
    rows = (slots < 0).nonzero().flatten()
    flat = y.view(-1, y.shape[-1])
    kept = flat[rows]
    yield
    flat[rows] = kept
