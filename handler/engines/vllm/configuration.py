"""Settings -> vLLM's configuration, checked for what vLLM would accept and then get wrong."""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import torch
from vllm import envs
from vllm.config import ParallelConfig, VllmConfig
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.platforms import current_platform
from vllm.usage.usage_lib import UsageContext

from handler.engines.architectures import VISION_FIELDS, text_only_refusal, vision_field
from handler.engines.vllm.adapters import cpu_patch
from handler.engines.vllm.adapters.served import check_tower_adapters
from handler.engines.vllm.arguments import parse_texts
from handler.engines.vllm.attention import attention_difference
from handler.engines.vllm.causes import gather_causes
from handler.engines.vllm.degrees import tensor_parallel_size
from handler.engines.vllm.launch import VllmSettings
from handler.engines.vllm.placeholders import lacks_placeholder
from handler.engines.vllm.preloading import use_engine_processes
from handler.engines.vllm.quantisation import check_quantisation
from handler.engines.vllm.reasons import is_pointer, reason
from handler.errors import LumiError, OptionError, StartError

log = logging.getLogger("lumi.engine")


@contextlib.contextmanager
def load_errors(settings: VllmSettings) -> Iterator[None]:
    """Raises StartError in place of every exception of vLLM: the model could not be loaded."""
    with gather_causes() as first_cause:
        try:
            yield
        except LumiError:
            raise
        except Exception as fault:
            why = reason(fault)
            if is_pointer(why):
                why = first_cause() or why
            raise StartError(f"vLLM could not load {settings.arguments['model']}: {why}") from fault


def create_config(settings: VllmSettings, *, headless: bool = False) -> VllmConfig:
    """vLLM's configuration for `settings`; `headless` on a node without a front end. Raises OptionError or StartError."""
    use_engine_processes()
    arguments = {**settings.arguments, **parse_texts(settings.texts, settings.described)}
    arguments["tensor_parallel_size"] = tensor_parallel_size(arguments, torch.cuda.device_count(), settings.sizes)
    args = AsyncEngineArgs(**cpu_patch.with_worker_extension(arguments))
    config = args.create_engine_config(UsageContext.OPENAI_API_SERVER, headless=headless)
    _check_replicas_fit_nodes(config)
    if args.distributed_executor_backend is None:
        use_few_processes(config.parallel_config)
    if not args.language_model_only:
        _check_vision(config.model_config)
    _interleave_only_placeholders(config.model_config)
    if difference := attention_difference(config.model_config, on_cpu=current_platform.is_cpu()):
        log.warning(difference)
    if current_platform.is_cpu():
        _check_cpu(config.model_config)
    check_tower_adapters(config)
    return config


def use_few_processes(parallel: ParallelConfig) -> None:
    """Run a single worker in the engine's process, where nothing is pinned."""
    # On a CPU vLLM puts even a single worker into a process of its own, only to pin the worker's threads, and lays rings
    # of 400 MiB of shared memory between the two. Docker gives a container 64 MiB, as SageMaker's local mode does. Where
    # nothing is pinned, the worker runs in the engine's process, as it does on one GPU. vLLM itself would change "uni"
    # back to "mp", and it rejects the class as an argument where there are several nodes.
    if parallel.world_size == 1 and current_platform.is_cpu() and envs.VLLM_CPU_OMP_THREADS_BIND == "nobind":
        parallel.distributed_executor_backend = "vllm.v1.executor.uniproc_executor.UniProcExecutor"


def _check_replicas_fit_nodes(config: VllmConfig) -> None:
    # vLLM treats the replicas of a dense model as engines of their own, but has all of them meet at one port of node 0,
    # and the nodes without a front end count the workers of all replicas.
    parallel = config.parallel_config
    if parallel.data_parallel_size > 1 and parallel.nnodes_within_dp > 1 and not config.model_config.is_moe:
        nodes = parallel.nnodes_within_dp
        raise OptionError(
            f"OPTION_NNODES={parallel.nnodes} / OPTION_DATA_PARALLEL_SIZE={parallel.data_parallel_size} spreads each replica "
            f"over {nodes} nodes, which vLLM does for mixtures of experts only. Start an engine of {nodes} nodes for each "
            f"replica, or set OPTION_DATA_PARALLEL_SIZE to a multiple of {parallel.nnodes}."
        )


def _check_vision(model_config: Any) -> None:
    # vLLM falls back to a text-only class for an architecture that it no longer has, and would answer without
    # having seen the images.
    if model_config.is_multimodal_model:
        return
    config = model_config.hf_config
    if found := vision_field({name: getattr(config, name, None) for name in VISION_FIELDS}):
        raise StartError(text_only_refusal(model_config.model, found, config.architectures or ()))


def _check_cpu(model_config: Any) -> None:
    quantised = model_config.model_arch_config.quantization_config
    if difference := check_quantisation(model_config.model, quantised, torch.cpu.get_capabilities()):
        log.warning(difference)


def _interleave_only_placeholders(model_config: Any) -> None:
    # Where a template takes a string, vLLM interleaves the media of a message by replacing marks (`<##IMAGE##>`) with the
    # placeholder of the model. A model without one (PaliGemma's processor puts images first) would see the marks.
    media = model_config.multimodal_config
    if media is not None and lacks_placeholder(model_config):
        media.interleave_mm_strings = False
