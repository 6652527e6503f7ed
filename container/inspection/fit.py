"""A model's sizes, the options and an instance type -> whether it fits there, and what to change if not.

An estimate: what vLLM takes beside weights and cache is measured only when it starts. It errs towards too much.
"""

import math
from dataclasses import dataclass

from container.inspection.instances import GIB, Instance
from handler.checkpoint.divisible_sizes import DivisibleSizes
from handler.checkpoint.memory import KvCache

USABLE = 0.95  # of the published memory; the driver keeps the rest
CONTEXT_BYTES = int(1.5 * GIB)  # CUDA's context, its graphs and the libraries' workspaces
UTILISATION = 0.92  # vLLM's default for gpu_memory_utilization


@dataclass(frozen=True, slots=True)
class Demand:
    """What a model takes with the options given. `language_bytes` are divided among the GPUs, `other_bytes` (towers and
    projectors) are not, and neither are `working_bytes`: activations, the sampler and the largest image in the encoder.
    `tensor_parallel` is None for all GPUs of a machine. `sizes` bound what it can be."""

    language_bytes: int
    other_bytes: int
    working_bytes: int
    kv: KvCache | None
    max_tokens: int
    tensor_parallel: int | None
    sizes: DivisibleSizes
    utilisation: float
    is_quantised: bool


@dataclass(frozen=True, slots=True)
class Fit:
    """`free_bytes` is what a GPU has left for the KV cache, `request_bytes` what a request of the maximum length takes of it.
    `cures` say what to change if it does not fit."""

    instance: Instance
    degree: int
    weight_bytes: int
    free_bytes: int
    request_bytes: int
    cures: tuple[str, ...]

    @property
    def fits(self) -> bool:
        return not self.cures

    @property
    def concurrency(self) -> float | None:
        """How many requests of the maximum length the cache holds."""
        return self.free_bytes / self.request_bytes if self.request_bytes and self.fits else None


def fit(demand: Demand, instance: Instance) -> Fit:
    """On one instance, with as many GPUs of it as the degree says."""
    degree = _degree(demand, instance.gpus)
    weights, free, request = _gpu(demand, instance, degree)
    return Fit(instance, degree, weights, free, request, tuple(_cures(demand, instance, degree, free, request)))


def _degree(demand: Demand, gpus: int) -> int:
    return demand.tensor_parallel or demand.sizes.largest_degree(gpus)


def _gpu(demand: Demand, instance: Instance, degree: int) -> tuple[int, int, int]:
    """For one GPU: the weights, what is left for the cache, and what a request of the maximum length takes of it."""
    weights = demand.language_bytes // degree + demand.other_bytes
    budget = int(instance.gpu_bytes * USABLE * demand.utilisation)
    free = budget - weights - demand.working_bytes - CONTEXT_BYTES
    request = 0 if demand.kv is None else demand.kv.bytes_of(demand.max_tokens) // min(degree, demand.kv.shards)
    return weights, free, request


def _cures(demand: Demand, instance: Instance, degree: int, free: int, request: int) -> list[str]:
    if degree > instance.gpus:
        return [f"OPTION_TENSOR_PARALLEL_DEGREE={degree} needs {degree} GPUs; it has {instance.gpus}"]
    if not demand.sizes.are_divisible(degree):
        widest = demand.sizes.largest_degree(instance.gpus)
        return [
            f"OPTION_TENSOR_PARALLEL_DEGREE={widest}: the model's attention heads or other sizes cannot be divided by {degree}"
        ]
    if free > 0 and free >= request:
        return []
    found: list[str] = []
    for wider in range(degree + 1, instance.gpus + 1):
        _, more, needed = _gpu(demand, instance, wider)
        if demand.sizes.are_divisible(wider) and more > 0 and more >= needed:
            found.append(f"OPTION_TENSOR_PARALLEL_DEGREE={wider}")
            break
    if free > 0 and demand.kv is not None and demand.kv.token_bytes:
        tokens = free * min(degree, demand.kv.shards) // demand.kv.token_bytes
        if tokens >= 1024:
            found.append(f"OPTION_MAX_MODEL_LEN={2 ** int(math.log2(tokens))}")
    if not demand.is_quantised:
        found.append("OPTION_QUANTIZE=fp8, or a checkpoint with quantised weights (AWQ, GPTQ)")
    return [*found, "a type with more memory" if degree == instance.gpus else "more GPUs"]
