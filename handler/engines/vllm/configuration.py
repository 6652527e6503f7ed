"""Settings -> vLLM's configuration, and every reason to refuse it."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import pydantic
import torch
from vllm import envs
from vllm.config import VllmConfig
from vllm.platforms import current_platform
from vllm.usage.usage_lib import UsageContext

from handler.engines.vllm import cpu_adapters
from handler.engines.vllm.adapters import refuse_miscounted_pictures
from handler.engines.vllm.arguments import engine_args
from handler.engines.vllm.degrees import placed
from handler.engines.vllm.preloading import use_forks
from handler.engines.vllm.settings import VllmSettings
from handler.errors import LumiError, StartError

# What a configuration of a checkpoint that sees has, whatever class its architecture resolves to.
_VISION_FIELDS = (
    "vision_config",
    "vq_config",
    "vision_tower",
    "mm_vision_tower",
    "visual",
    "image_token_id",
    "image_token_index",
)


@contextlib.contextmanager
def loading(settings: VllmSettings) -> Iterator[None]:
    """Say of whatever vLLM raises within that the model could not be loaded. Raises StartError."""
    try:
        yield
    except LumiError:
        raise
    except Exception as fault:
        raise StartError(f"vLLM could not load {settings.arguments['model']}: {_reason(fault)}") from fault


def configured(settings: VllmSettings, *, headless: bool = False) -> VllmConfig:
    """What vLLM makes of `settings`; `headless` on a node without a front end. Raises OptionError or StartError."""
    use_forks()
    args = engine_args(
        cpu_adapters.with_worker(in_few_processes(placed(settings.arguments, torch.cuda.device_count())))
    )
    config = args.create_engine_config(UsageContext.OPENAI_API_SERVER, headless=headless)
    if not args.language_model_only:
        _refuse_blind(config.model_config)
    refuse_miscounted_pictures(config)
    return config


def in_few_processes(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    # On a CPU vLLM puts even a single worker into a process of its own, only to pin the worker's threads, and lays rings
    # of 400 MiB of shared memory between the two. Docker gives a container 64 MiB, as SageMaker's local mode does. Where
    # nothing is pinned, the worker runs in the engine's process, as it does on one GPU.
    alone = int(arguments["tensor_parallel_size"]) * int(arguments.get("pipeline_parallel_size", 1)) == 1
    if not (alone and current_platform.is_cpu() and envs.VLLM_CPU_OMP_THREADS_BIND == "nobind"):
        return arguments
    return {"distributed_executor_backend": "vllm.v1.executor.uniproc_executor.UniProcExecutor", **arguments}


def _refuse_blind(model_config: Any) -> None:
    # vLLM falls back to a text-only class for an architecture that it no longer has, and would answer about pictures
    # that it never saw.
    if model_config.is_multimodal_model:
        return
    seen = [name for name in _VISION_FIELDS if getattr(model_config.hf_config, name, None) is not None]
    if seen:
        architectures = ", ".join(model_config.hf_config.architectures or ["unknown"])
        raise StartError(
            f"{model_config.model} is a vision checkpoint (its config has {seen[0]}), but this vLLM runs its "
            f"architecture {architectures} as text only and would ignore every picture. Choose another model, or set "
            "OPTION_LANGUAGE_MODEL_ONLY=true to serve its language part on purpose."
        )


def _reason(fault: BaseException) -> str:
    """What the outermost exception says, and what the innermost has to add."""
    inner = fault
    while (cause := inner.__cause__ or inner.__context__) is not None:
        inner = cause
    said = _said(fault).strip() or type(fault).__name__
    added = _said(inner).strip()
    return said if added in said else f"{said} ({added})"


def _said(fault: BaseException) -> str:
    if not isinstance(fault, pydantic.ValidationError):
        return str(fault)
    said = "; ".join(error["msg"].removeprefix("Value error, ") for error in fault.errors())
    if "divisible by tensor parallel size" in said:
        return f"{said} Set OPTION_TENSOR_PARALLEL_DEGREE, which otherwise is the number of GPUs, to a divisor of it."
    return said
