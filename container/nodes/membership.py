"""Options -> which node of an engine this machine is, and what all its nodes must share."""

import re
import socket
from dataclasses import dataclass
from typing import Any

from container.options import Options
from handler.errors import OptionError


@dataclass(frozen=True, slots=True)
class Node:
    """One machine of `count`. Node 0, at the address `leader`, answers requests, and the others compute for it."""

    count: int
    rank: int
    leader: str
    port: int

    @property
    def rendezvous_port(self) -> int:
        """The port of node 0 to which the other nodes connect. vLLM uses the port before it."""
        return self.port + 1

    @property
    def follows(self) -> bool:
        return self.rank > 0

    @property
    def arguments(self) -> dict[str, Any]:
        """vLLM's engine arguments by name. None for a single node: a rank that its platform gave it, for instance as a pod
        of an indexed Job, is not the rank in an engine."""
        if self.count == 1:
            return {}
        return {
            "nnodes": self.count,
            "node_rank": self.rank,
            "master_addr": self.leader,
            "master_port": self.port,
        }


def this_node(options: Options, hostname: str | None = None) -> Node:
    """The node that this machine is. Raises OptionError if the options do not say its rank or the address of node 0."""
    if options.nnodes == 1:
        return Node(1, 0, "127.0.0.1", options.master_port)
    nodes = f"{options.nnodes} nodes (OPTION_NNODES, or the platform's variable for it)"
    if options.master_addr is None:
        raise OptionError(f"{nodes} need OPTION_MASTER_ADDR, the address at which the other nodes reach node 0.")
    name = hostname or socket.gethostname()
    rank = options.node_rank if options.node_rank is not None else _rank_from_name(name, options.master_addr)
    if rank is None:
        raise OptionError(
            f"{nodes} need OPTION_NODE_RANK, from 0 on node 0 to {options.nnodes - 1}: the host name {name!r} does not "
            "end in a rank."
        )
    if rank == 0 and options.port in (options.master_port, options.master_port + 1):
        raise OptionError(
            f"OPTION_MASTER_PORT={options.master_port} and the port after it are used between the nodes, and the server "
            f"listens on {options.port} (SERVING_PORT); choose another OPTION_MASTER_PORT, the same on all nodes."
        )
    if rank >= options.nnodes:
        raise OptionError(f"{nodes} have no node {rank}; OPTION_NODE_RANK goes from 0 to {options.nnodes - 1}.")
    return Node(options.nnodes, rank, options.master_addr, options.master_port)


def shared_options(options: Options, gpus: int) -> dict[str, object]:
    """What must be the same on all nodes, by the names that users know. If it differs, nodes wait for processes that
    never start. `gpus` is the number of GPUs of this node."""
    return {
        "the number of GPUs": gpus,
        "OPTION_NNODES": options.nnodes,
        "OPTION_TENSOR_PARALLEL_DEGREE": options.tensor_parallel_degree,
        "OPTION_PIPELINE_PARALLEL_DEGREE": options.pipeline_parallel_degree,
        "OPTION_PREFILL_CONTEXT_PARALLEL_SIZE": options.prefill_context_parallel_size or 1,
        "OPTION_DATA_PARALLEL_SIZE": options.data_parallel_size,
    }


def _rank_from_name(hostname: str, leader: str) -> int | None:
    """The rank at the end of a host name, as pods of a StatefulSet or an indexed Job have it: lumi-0, lumi-1. The leader
    may have any name."""
    own = hostname.partition(".")[0]
    if own == leader.partition(".")[0]:
        return 0
    number = re.search(r"-([0-9]+)$", own)
    return int(number[1]) if number else None
