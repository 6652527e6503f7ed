"""Options -> which of the machines that compute as one engine this is."""

import re
import socket
from dataclasses import dataclass
from typing import Any

from container.options import Options
from handler.errors import OptionError


@dataclass(frozen=True, slots=True)
class Node:
    """One machine of `count`; number 0, at `leader`, answers requests and the others compute for it."""

    count: int
    rank: int
    leader: str
    port: int

    @property
    def rendezvous_port(self) -> int:
        """Where the others find node 0, and stay connected to it. vLLM has the port before it to itself."""
        return self.port + 1

    @property
    def follows(self) -> bool:
        return self.rank > 0

    @property
    def arguments(self) -> dict[str, Any]:
        """By the names of vLLM's engine arguments. A machine alone says nothing: a rank that something else gave it, as
        to a pod of an indexed job, is not one of an engine."""
        if self.count == 1:
            return {}
        return {
            "nnodes": self.count,
            "node_rank": self.rank,
            "master_addr": self.leader,
            "master_port": self.port,
        }


def this_node(options: Options, hostname: str | None = None) -> Node:
    """Raises OptionError where the options leave open which node this is, or where node 0 is."""
    if options.nnodes == 1:
        return Node(1, 0, "127.0.0.1", options.master_port)
    nodes = f"{options.nnodes} nodes (OPTION_NNODES, or what stands for it)"
    if options.master_addr is None:
        raise OptionError(f"{nodes} need OPTION_MASTER_ADDR, the address at which node 0 is reached by the others.")
    name = hostname or socket.gethostname()
    rank = options.node_rank if options.node_rank is not None else _numbered(name, options.master_addr)
    if rank is None:
        raise OptionError(
            f"{nodes} need OPTION_NODE_RANK, from 0 on node 0 to {options.nnodes - 1}: the host name {name!r} does not "
            "end in the number of a node."
        )
    if rank == 0 and options.port in (options.master_port, options.master_port + 1):
        raise OptionError(
            f"OPTION_MASTER_PORT={options.master_port} and the port after it are for the nodes, and {options.port} is the "
            "server's (SERVING_PORT); choose another OPTION_MASTER_PORT, the same on all nodes."
        )
    if rank >= options.nnodes:
        raise OptionError(f"Node {rank} is not one of {nodes}; OPTION_NODE_RANK goes from 0 to {options.nnodes - 1}.")
    return Node(options.nnodes, rank, options.master_addr, options.master_port)


def agreed(options: Options, gpus: int) -> dict[str, Any]:
    """What has to be the same on all nodes of an engine, by the names that an operator knows: a difference would leave them
    waiting for processes that nobody starts. `gpus` is how many this one has."""
    return {
        "the number of GPUs": gpus,
        "OPTION_NNODES": options.nnodes,
        "OPTION_TENSOR_PARALLEL_DEGREE": options.tensor_parallel_degree,
        "OPTION_PIPELINE_PARALLEL_DEGREE": options.pipeline_parallel_degree,
        "OPTION_PREFILL_CONTEXT_PARALLEL_SIZE": options.engine_arguments.get("prefill_context_parallel_size", "1"),
        "OPTION_DATA_PARALLEL_SIZE": options.data_parallel_size,
    }


def _numbered(hostname: str, leader: str) -> int | None:
    """As the pods of a StatefulSet or an indexed Job are: lumi-0, lumi-1. The leader may be called otherwise."""
    own = hostname.partition(".")[0]
    if own == leader.partition(".")[0]:
        return 0
    number = re.search(r"-([0-9]+)$", own)
    return int(number[1]) if number else None
