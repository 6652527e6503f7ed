"""How many processes vLLM is asked to compute in, beside the GPUs that there are: a start that cannot work is refused."""

from collections.abc import Mapping
from typing import Any

from handler.errors import OptionError

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
    where something else than `nnodes` and `node_rank` is to say who computes which."""
    nodes, replicas = int(arguments.get("nnodes", 1)), int(arguments.get("data_parallel_size", 1))
    if nodes == 1:
        return
    if replicas % nodes and nodes % replicas:
        raise OptionError(
            f"OPTION_DATA_PARALLEL_SIZE={replicas} is {replicas} / {nodes} = {replicas / nodes:.3g} replicas for each of "
            f"{nodes} nodes (OPTION_NNODES), and a replica cannot be cut; choose a multiple of {nodes}."
        )
    for name in OTHER_BALANCERS:
        if str(arguments.get(name, "false")).lower() != "false":
            raise OptionError(
                f"OPTION_{name.upper()} is for nodes that each answer requests, and with OPTION_NNODES node 0 shares them "
                "out. Leave it out, or leave out OPTION_NNODES and put a load balancer before nodes that serve on their own."
            )


def placed(arguments: Mapping[str, Any], gpus: int) -> dict[str, Any]:
    """`arguments` with a tensor parallel degree: all GPUs of all nodes, shared with the other degrees, unless it is set.

    `gpus` is how many this machine has; each node is taken to have as many. Without any, vLLM computes in as many
    processes as it is told to. Raises OptionError with the arithmetic where the degrees need other GPUs than there are, or
    cannot be shared evenly by the nodes.
    """
    check_nodes(arguments)
    nodes = int(arguments.get("nnodes", 1))
    if "tensor_parallel_size" not in arguments:
        others = _product(_degrees({**arguments, "tensor_parallel_size": 1}))
        arguments = {**arguments, "tensor_parallel_size": max(1, gpus * nodes // others)}
    # What runs elsewhere than here, by another launcher, is not ours to count.
    if arguments.get("distributed_executor_backend") in (None, "mp", "uni"):
        _refuse(_degrees(arguments), gpus, nodes)
    return dict(arguments)


def _degrees(arguments: Mapping[str, Any]) -> dict[str, int]:
    return {OPTIONS[name]: int(arguments[name]) for name in OPTIONS if name in arguments}


def _refuse(degrees: Mapping[str, int], gpus: int, nodes: int) -> None:
    wanted = _product(degrees)
    said = (
        " x ".join(f"{option}={degree}" for option, degree in degrees.items() if degree > 1)
        or "An engine without degrees"
    )
    if wanted % nodes:
        needed = _gpus(wanted) if gpus else f"{wanted} worker{'s' if wanted > 1 else ''}"
        raise OptionError(
            f"{said} needs {needed}, which {nodes} nodes (OPTION_NNODES) cannot share evenly; choose degrees whose product "
            "is a multiple of the nodes."
        )
    if gpus and wanted > gpus * nodes:
        there = (
            f"{nodes} nodes with {_gpus(gpus)} each have {gpus * nodes}" if nodes > 1 else f"this machine has {gpus}"
        )
        raise OptionError(
            f"{said} needs {_gpus(wanted)} and {there}. Lower a degree, or leave OPTION_TENSOR_PARALLEL_DEGREE unset to "
            "take what there is."
        )


def _product(degrees: Mapping[str, int]) -> int:
    product = 1
    for degree in degrees.values():
        product *= degree
    return product


def _gpus(count: int) -> str:
    return "1 GPU" if count == 1 else f"{count} GPUs"
