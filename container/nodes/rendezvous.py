"""The nodes of one engine: each keeps a connection to node 0 while both run, so that they start and stop together.

vLLM connects its processes once and does not watch them afterwards: a leader whose followers are gone waits for their
results, and followers wait for the next step of a leader that is gone. phases.py draws what happens to a node in between.
"""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from container.nodes.connection import Connection
from container.nodes.membership import Node
from container.nodes.phases import FOLLOWER, LEADER, Event, Phase, Progress, Transitions
from handler.errors import EngineDead, StartError

log = logging.getLogger("lumi.nodes")

Report = Callable[[str], None]
Check = Callable[[], Awaitable[None]]

HELLO_SECONDS = 10.0  # for a node that connects to send its rank
CONNECT_SECONDS = 5.0
RETRY_SECONDS = 1.0
CHECK_SECONDS = 1.0  # how soon a follower notices that its part of the engine died while it was loading


class NodeGroup(Protocol):
    """The nodes of one engine, as one of them deals with the others."""

    async def meet(self, report: Report) -> str | None:
        """Wait until all nodes are connected; the address of node 0, None for a single node. Raises StartError.

        `report` receives which nodes are missing.
        """

    async def ready(self, check: Check) -> None:
        """On node 0, tell the other nodes that it answers requests; on the others, wait for that.

        `check` raises EngineDead if the engine dies meanwhile.
        """

    async def wait_for_stop_of_peer(self) -> None:
        """Return when another node was told to stop and this one was not. Raises EngineDead when a node is lost."""

    def stop(self) -> None:
        """Tell the other nodes to stop too. They compute for node 0 until it has finished its requests."""

    async def wait_until_released(self) -> None:
        """Return when no other node needs this one."""

    def close(self) -> None:
        """Close the connections. May be called twice, and before the nodes have met."""


class SingleNode:
    """A group of one node: nothing to wait for."""

    async def meet(self, report: Report) -> str | None:  # noqa: ARG002  # no node is missing
        return None

    async def ready(self, check: Check) -> None:
        pass

    async def wait_for_stop_of_peer(self) -> None:
        await asyncio.Event().wait()

    def stop(self) -> None:
        pass

    async def wait_until_released(self) -> None:
        pass

    def close(self) -> None:
        pass


class _Member:
    """What a leader and a follower have in common. `shared_options` must be the same on all nodes, by name."""

    def __init__(self, node: Node, shared_options: Mapping[str, object], transitions: Transitions) -> None:
        self._node = node
        self._shared_options = shared_options
        self._progress = Progress(transitions)
        self._lost = ""  # the node that is gone

    async def wait_for_stop_of_peer(self) -> None:
        if await self._progress.reach(Phase.PARTING, Phase.RELEASED, Phase.LOST) is Phase.LOST:
            raise EngineDead(f"{self._lost} has ended; this server is going down.")

    def _peer_is_stopping(self, rank: int) -> None:
        if self._progress.handle(Event.PEER_STOPPING):
            log.info("node %d was told to stop, and this node stops with it", rank)


class Leader(_Member):
    """Node 0, to which the others connect."""

    def __init__(self, node: Node, shared_options: Mapping[str, object]) -> None:
        super().__init__(node, shared_options, LEADER)
        self._connections: dict[int, Connection] = {}  # by rank
        self._server: asyncio.Server | None = None

    async def meet(self, report: Report) -> str:
        port = self._node.rendezvous_port
        self._server = await asyncio.start_server(self._serve, sock=_listener(port))
        while missing := sorted(set(range(1, self._node.count)) - set(self._connections)):
            report(f"waiting at port {port} for {_node_list(missing)} of {self._node.count}")
            await self._progress.change()
        self._progress.handle(Event.ALL_MET)
        self._server.close()  # no other node is expected
        # vLLM binds this address: a name will not do, and the host's own name may resolve to 127.0.1.1.
        address = self._connections[1].address
        self._send_all("met", address)
        return address

    async def ready(self, check: Check) -> None:  # noqa: ARG002  # the engine has already answered a request
        self._progress.handle(Event.LEADER_READY)
        self._send_all("ready")

    def stop(self) -> None:
        self._progress.handle(Event.STOP)
        self._send_all("stopping")

    async def wait_until_released(self) -> None:
        pass

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in self._connections.values():
            connection.close()

    def _send_all(self, kind: str, content: object = None) -> None:
        for connection in self._connections.values():
            connection.send(kind, content)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer)
        try:
            rank = await self._admit(connection)
            if rank is not None:
                await self._listen(rank, connection)
        finally:
            connection.close()

    async def _admit(self, connection: Connection) -> int | None:
        """The rank of the node that connects; None if it does not belong to this engine."""
        hello = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HELLO_SECONDS):
                hello = (await connection.receive()).get("hello")
        if not isinstance(hello, dict) or self._progress.phase is not Phase.WAITING:
            return None
        rank, options = hello.get("rank"), hello.get("options")
        if type(rank) is not int or not 1 <= rank < self._node.count or not isinstance(options, dict):
            return None
        if reason := self._mismatch(rank, options):
            log.warning("refused node %d: %s", rank, reason)
            connection.send("refused", reason)
            return None
        return rank

    def _mismatch(self, rank: int, options: Mapping[str, object]) -> str | None:
        different = [
            f"{name} is {options.get(name)} on node {rank} and {value} on node 0"
            for name, value in self._shared_options.items()
            if options.get(name) != value
        ]
        if different:
            return f"{'; '.join(different)}. All nodes need the same options."
        if rank in self._connections:
            return f"There is already a node {rank}; each node needs a rank of its own (OPTION_NODE_RANK)."
        return None

    async def _listen(self, rank: int, connection: Connection) -> None:
        self._connections[rank] = connection
        self._progress.wake()
        try:
            while message := await connection.receive():
                if "stopping" in message:
                    self._peer_is_stopping(rank)
        finally:
            del self._connections[rank]
            if self._progress.handle(Event.CONNECTION_LOST):
                self._lost = f"Node {rank}, which computes for this one,"
            self._progress.wake()


class Follower(_Member):
    """A node that computes for node 0, and connects to it."""

    def __init__(self, node: Node, shared_options: Mapping[str, object]) -> None:
        super().__init__(node, shared_options, FOLLOWER)
        self._lost = "Node 0, which answers requests,"
        self._connection: Connection | None = None
        self._listening: asyncio.Task[None] | None = None

    async def meet(self, report: Report) -> str:
        address = f"{self._node.leader}:{self._node.rendezvous_port}"
        logged = ""
        while True:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    streams = await asyncio.open_connection(self._node.leader, self._node.rendezvous_port)
                self._connection = Connection(*streams)
                report(f"waiting for the other nodes to connect to {address}")
                return await self._join(self._connection)
            except OSError as fault:  # TimeoutError is one
                reason = str(fault) or f"no response within {CONNECT_SECONDS:g} s"
            self._disconnect()
            waiting = f"waiting for node 0 at {address} (OPTION_MASTER_ADDR): {reason}"
            report(waiting)
            if waiting != logged:
                log.info(waiting)
            logged = waiting
            await asyncio.sleep(RETRY_SECONDS)

    async def ready(self, check: Check) -> None:
        while self._progress.phase is not Phase.READY:
            await check()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CHECK_SECONDS):
                    await self._progress.change()

    def stop(self) -> None:
        self._progress.handle(Event.STOP)
        if self._connection is not None:
            self._connection.send("stopping")

    async def wait_until_released(self) -> None:
        await self._progress.reach(Phase.RELEASED, Phase.LOST)

    def close(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
        self._disconnect()

    async def _join(self, connection: Connection) -> str:
        """The address of node 0, once all nodes are connected. Raises StartError, or ConnectionError to try again."""
        connection.send("hello", {"rank": self._node.rank, "options": dict(self._shared_options)})
        message = await connection.receive()
        if "refused" in message:
            raise StartError(
                f"Node 0 at {self._node.leader}:{self._node.rendezvous_port} refused this node. {message['refused']}"
            )
        if "met" in message:
            self._progress.handle(Event.ALL_MET)
            self._listening = asyncio.create_task(self._listen(connection))
            return str(message["met"])
        if "stopping" in message:
            self._peer_is_stopping(0)
            await asyncio.Event().wait()  # until the caller, which awaits `wait_for_stop_of_peer` too, cancels this
        raise ConnectionError("it closed the connection")

    async def _listen(self, connection: Connection) -> None:
        while message := await connection.receive():
            if "ready" in message:
                self._progress.handle(Event.LEADER_READY)
            elif "stopping" in message:
                self._peer_is_stopping(0)
        self._progress.handle(Event.CONNECTION_LOST)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def node_group(node: Node, shared_options: Mapping[str, object]) -> NodeGroup:
    """The group that `node` belongs to, from its point of view."""
    if node.count == 1:
        return SingleNode()
    return Follower(node, shared_options) if node.follows else Leader(node, shared_options)


def _listener(port: int) -> socket.socket:
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except OSError as fault:
        raise StartError(
            f"Node 0 cannot listen on port {port}, the one after OPTION_MASTER_PORT ({os.strerror(fault.errno or 0)}), where "
            "the other nodes connect to it; choose another OPTION_MASTER_PORT, the same on all nodes."
        ) from fault


def _node_list(ranks: list[int]) -> str:
    return f"node{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}"
