"""The degrees of parallelism, checked against the number of GPUs and nodes."""

import logging
import math
from collections.abc import Mapping
from typing import Any

from handler.checkpoint.divisible_sizes import DivisibleSizes
from handler.errors import OptionError

log = logging.getLogger("lumi.engine")

# By the names of vLLM's engine arguments; what an operator calls them.
OPTIONS = {
    "tensor_parallel_size": "OPTION_TENSOR_PARALLEL_DEGREE",
    "pipeline_parallel_size": "OPTION_PIPELINE_PARALLEL_DEGREE",
    "prefill_context_parallel_size": "OPTION_PREFILL_CONTEXT_PARALLEL_SIZE",
    "data_parallel_size": "OPTION_DATA_PARALLEL_SIZE",
}
# What vLLM calls hybrid and external load balancing; giving a rank or a local size chooses it.
OTHER_BALANCERS = (
    "data_parallel_rank",
    "data_parallel_start_rank",
    "data_parallel_size_local",
    "data_parallel_hybrid_lb",
    "data_parallel_external_lb",
    "data_parallel_multi_port_external_lb",
)


def check_nodes(arguments: Mapping[str, Any]) -> None:
    """Raises OptionError where the nodes cannot share the replicas evenly (with the arithmetic, whatever GPUs they have), or
    where an argument other than `nnodes` and `node_rank` places them. Only the degrees have to be typed."""
    nodes, replicas = arguments.get("nnodes", 1), arguments.get("data_parallel_size", 1)
    if nodes == 1:
        return
    if replicas % nodes and nodes % replicas:
        raise OptionError(
            f"OPTION_DATA_PARALLEL_SIZE={replicas} is {replicas} / {nodes} = {replicas / nodes:.3g} replicas for each of "
            f"{nodes} nodes (OPTION_NNODES), and a replica cannot be divided; choose a multiple of {nodes}."
        )
    for name in OTHER_BALANCERS:
        if str(arguments.get(name, "false")).lower() != "false":
            raise OptionError(
                f"OPTION_{name.upper()} is for nodes that each serve requests, but with OPTION_NNODES node 0 distributes "
                "them. Remove it, or remove OPTION_NNODES and put a load balancer in front of independent nodes."
            )


def tensor_parallel_size(arguments: Mapping[str, Any], gpus: int, sizes: DivisibleSizes | None = None) -> int:
    """The tensor parallel degree of typed `arguments`: all GPUs of all nodes, divided by the other degrees, unless it is set;
    as many of them as the model's `sizes` can be divided by.

    `gpus` is how many this machine has; each node is taken to have as many. Without GPUs vLLM computes in as many
    processes as the degrees say. Raises OptionError with the arithmetic where the degrees need more GPUs than there are, or
    cannot be shared evenly by the nodes.
    """
    check_nodes(arguments)
    nodes = arguments.get("nnodes", 1)
    others = math.prod(_degrees({**arguments, "tensor_parallel_size": 1}).values())
    size: int = arguments.get("tensor_parallel_size") or _largest(max(1, gpus * nodes // others), others, nodes, sizes)
    # Processes that another launcher starts elsewhere are not counted here.
    if arguments.get("distributed_executor_backend") in (None, "mp", "uni"):
        _check_gpus(_degrees({**arguments, "tensor_parallel_size": size}), gpus, nodes)
    return size


def _largest(size: int, others: int, nodes: int, sizes: DivisibleSizes | None) -> int:
    """`size`, or the next lower degree that the sizes can be divided by and the nodes can share."""
    fitting = (n for n in range(size, 0, -1) if sizes is not None and sizes.are_divisible(n) and not n * others % nodes)
    found = next(fitting, size)
    if sizes is not None and found < size:
        log.warning(
            "tensor parallelism uses %d of %d GPUs: the model has %d attention heads, %d of keys and values, and other sizes, "
            "which cannot be divided by more (OPTION_TENSOR_PARALLEL_DEGREE)",
            found,
            size,
            sizes.heads,
            sizes.key_heads,
        )
    return found


def _degrees(arguments: Mapping[str, Any]) -> dict[str, int]:
    return {OPTIONS[name]: arguments[name] for name in OPTIONS if name in arguments}


def _check_gpus(degrees: Mapping[str, int], gpus: int, nodes: int) -> None:
    workers = math.prod(degrees.values())
    product = (
        " x ".join(f"{option}={degree}" for option, degree in degrees.items() if degree > 1)
        or "An engine without degrees"
    )
    if workers % nodes:
        needed = _gpus(workers) if gpus else f"{workers} worker{'s' if workers > 1 else ''}"
        raise OptionError(
            f"{product} needs {needed}, which {nodes} nodes (OPTION_NNODES) cannot share evenly; choose degrees whose "
            "product is a multiple of the number of nodes."
        )
    if gpus and workers > gpus * nodes:
        present = (
            f"{nodes} nodes with {_gpus(gpus)} each have {gpus * nodes}" if nodes > 1 else f"this machine has {gpus}"
        )
        raise OptionError(
            f"{product} needs {_gpus(workers)} and {present}. Lower a degree, or leave OPTION_TENSOR_PARALLEL_DEGREE unset "
            "to use all GPUs."
        )


def _gpus(count: int) -> str:
    return "1 GPU" if count == 1 else f"{count} GPUs"
