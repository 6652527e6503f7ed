"""A patch of vLLM's worker for adapters on a CPU, which vLLM 0.32 computes incorrectly.

A token of the base model has the slot -1. The kernels for GPUs skip it; those for CPUs index with it, and so compute the
token with the adapter in the last slot, as soon as a batch mixes the base model with adapters.

The logits of a prompt (`prompt_logprobs`) have a row for each of its tokens, where the kernels expect one for each request:
vLLM's CPU worker fails on their number, and with it the engine.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU
from vllm.platforms import current_platform
from vllm.v1.engine.async_llm import AsyncLLM

from handler.errors import StartError

_EXTENSION = "worker_extension_cls"


def with_worker_extension(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The engine arguments, with `Worker` as the worker extension if it is needed. Raises StartError if another is set."""
    if not current_platform.is_cpu() or str(arguments.get("enable_lora")).lower() != "true":
        return dict(arguments)
    if arguments.get(_EXTENSION):
        raise StartError(
            "On a CPU, LoRA adapters need Lumi's own worker extension. Remove OPTION_WORKER_EXTENSION_CLS or "
            "OPTION_ENABLE_LORA."
        )
    return {**arguments, _EXTENSION: f"{__name__}.Worker"}


async def patch_workers(llm: AsyncLLM) -> None:
    """Patch the workers of an engine that was started with `with_worker_extension`, if they need it."""
    if getattr(llm.vllm_config.parallel_config, _EXTENSION) == f"{__name__}.Worker":
        await llm.collective_rpc("lumi_keep_base_model_rows")


class Worker:
    """vLLM adds this as a base class to its own worker."""

    model_runner: Any

    def lumi_keep_base_model_rows(self) -> None:
        """Make every layer keep the output of the base model for tokens without an adapter, and the logits of prompts have
        the slots of their tokens."""
        runner = self.model_runner
        manager = runner.lora_manager._adapter_manager  # noqa: SLF001  # vLLM offers no public way to it
        wrappers = list(manager.punica_wrapper_mapping.values())
        for wrapper in wrappers:
            wrapper.__class__ = PatchedPunica
        original = runner._get_prompt_logprobs_dict  # noqa: SLF001  # as above

        def with_prompt_slots(hidden_states: torch.Tensor, *how: Any) -> Any:
            with _slots_of_prompts(runner.model, wrappers, hidden_states):
                return original(hidden_states, *how)

        runner._get_prompt_logprobs_dict = with_prompt_slots  # noqa: SLF001  # as above


class PatchedPunica(PunicaWrapperCPU):  # type: ignore[misc]  # vllm is untyped here
    """vLLM's, but the rows of `y` whose slot is -1 stay unchanged. While `prompt_rows` is set, logits are computed for these
    tokens of the batch, and not for the last one of each request."""

    prompt_rows: slice | None = None

    @property
    def sampler_indices(self) -> torch.Tensor:
        return super().sampler_indices if self.prompt_rows is None else self.token_lora_indices[self.prompt_rows]

    def add_lora_linear(self, y: torch.Tensor, *how: Any, **more: Any) -> None:
        with _keep_base_model_rows(y, self.token_lora_indices):
            super().add_lora_linear(y, *how, **more)

    def add_lora_embedding(self, y: torch.Tensor, *how: Any, **more: Any) -> None:
        with _keep_base_model_rows(y, self.token_lora_indices):
            super().add_lora_embedding(y, *how, **more)

    def add_lora_logits(self, y: torch.Tensor, *how: Any, **more: Any) -> None:
        with _keep_base_model_rows(y, self.sampler_indices):
            super().add_lora_logits(y, *how, **more)


@contextmanager
def _keep_base_model_rows(y: torch.Tensor, slots: torch.Tensor) -> Iterator[None]:
    rows = (slots < 0).nonzero().flatten()
    flat = y.view(-1, y.shape[-1])
    kept = flat[rows]
    yield
    flat[rows] = kept


@contextmanager
def _slots_of_prompts(model: Any, wrappers: Sequence[Any], hidden_states: torch.Tensor) -> Iterator[None]:
    """While the block lasts, `model` computes logits of slices of `hidden_states`, whose rows are the tokens of the batch."""
    original, row_bytes = model.compute_logits, hidden_states.stride(0) * hidden_states.element_size()

    def compute(rows: torch.Tensor) -> Any:
        first = (rows.data_ptr() - hidden_states.data_ptr()) // row_bytes
        for wrapper in wrappers:
            wrapper.prompt_rows = slice(first, first + len(rows))
        return original(rows)

    model.compute_logits = compute
    try:
        yield
    finally:
        del model.compute_logits
        for wrapper in wrappers:
            wrapper.prompt_rows = None
