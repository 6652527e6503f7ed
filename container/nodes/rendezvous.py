"""The nodes of one engine: a connection of each to node 0, held for as long as both live, by which they start and end as
one.

vLLM brings its processes together and never looks back: a leader whose followers are gone waits for their answers, and so
do followers for the next word of a leader that is gone.
"""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from container.nodes.connection import Line
from container.nodes.membership import Node
from handler.errors import EngineDead, StartError

log = logging.getLogger("lumi.nodes")

Say = Callable[[str], None]

HELLO_SECONDS = 10.0  # for whoever connects to say which node it is
CONNECT_SECONDS = 5.0
RETRY_SECONDS = 1.0
CHECK_SECONDS = 1.0  # how soon a follower notices that its part has not survived being loaded


class SingleNode:
    """A node without others, and what nodes that have some have in common."""

    def __init__(self) -> None:
        self._stopping = False
        self._told: str | None = None  # who else was told to stop
        self._lost: str | None = None
        self._changed = asyncio.Event()

    async def meet(self, say: Say) -> str | None:  # noqa: ARG002  # nobody is missing
        """Wait for the others; the address of node 0, once all are there. Raises StartError.

        `say` is told who is missing.
        """
        return None

    async def ready(self, check: Callable[[], Awaitable[None]]) -> None:
        """On node 0, tell the others that it answers; on these, wait for that. `check` raises EngineDead meanwhile."""

    async def parted(self) -> None:
        """Return when another node was told to stop, unless this one was too. Raises EngineDead when one is lost."""
        while self._lost is None:
            if self._told is not None and not self._stopping:
                log.info("%s was told to stop, and this one stops with it", self._told)
                return
            await self._change()
        raise EngineDead(f"{self._lost}; this server is going down.")

    def stop(self) -> None:
        """Have the others stop as well. They compute for as long as node 0 needs them."""
        self._stopping = True

    async def released(self) -> None:
        """Return when no other node needs this one."""

    def close(self) -> None:
        """Leave the others. May be called twice, and before they have come."""

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


class Leader(SingleNode):
    """Node 0. `agreed` are options that have to be the same on all nodes, by name."""

    def __init__(self, node: Node, agreed: Mapping[str, Any]) -> None:
        super().__init__()
        self._node = node
        self._agreed = agreed
        self._lines: dict[int, Line] = {}
        self._met = False
        self._server: asyncio.Server | None = None

    async def meet(self, say: Say) -> str:
        port = self._node.rendezvous_port
        self._server = await asyncio.start_server(self._attend, sock=_listener(port))
        while missing := sorted(set(range(1, self._node.count)) - set(self._lines)):
            say(f"waiting at port {port} for {_numbered(missing)} of {self._node.count}")
            await self._change()
        self._met = True
        self._server.close()  # nobody else is expected
        # vLLM binds it, for which a name will not do, and by its own name a machine may know itself as 127.0.1.1.
        address = self._lines[1].address
        self._tell("met", address)
        return address

    async def ready(self, check: Callable[[], Awaitable[None]]) -> None:  # noqa: ARG002  # it answers
        self._tell("ready")

    def stop(self) -> None:
        super().stop()
        self._tell("stopping")

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for line in self._lines.values():
            line.close()

    def _tell(self, word: str, about: Any = None) -> None:
        for line in self._lines.values():
            line.say(word, about)

    async def _attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = Line(reader, writer)
        try:
            number = await self._admit(line)
            if number is not None:
                await self._hold(number, line)
        finally:
            line.close()

    async def _hold(self, number: int, line: Line) -> None:
        self._lines[number] = line
        self._changed.set()
        try:
            while said := await line.hear():
                if "stopping" in said:
                    self._told = f"node {number}"
                    self._changed.set()
        finally:
            del self._lines[number]
            if self._met and self._lost is None:
                self._lost = f"Node {number}, which computes for this one, has ended"
            self._changed.set()

    async def _admit(self, line: Line) -> int | None:
        """The number of the node that says hello; None for whoever is no node of this engine."""
        hello = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HELLO_SECONDS):
                hello = (await line.hear()).get("hello")
        if not isinstance(hello, dict):
            return None
        number, agreed = hello.get("node"), hello.get("agreed")
        if type(number) is not int or not 1 <= number < self._node.count or not isinstance(agreed, dict) or self._met:
            return None
        if reason := self._against(number, agreed):
            log.warning("refused node %d: %s", number, reason)
            line.say("refused", reason)
            return None
        return number

    def _against(self, number: int, agreed: Mapping[str, Any]) -> str | None:
        differing = [
            f"{name} is {agreed.get(name)} on node {number} and {value} on node 0"
            for name, value in self._agreed.items()
            if agreed.get(name) != value
        ]
        if differing:
            return f"{'; '.join(differing)}. All nodes take the same options."
        if number in self._lines:
            return f"There is a node {number} already; each has a number of its own (OPTION_NODE_RANK)."
        return None


class Follower(SingleNode):
    """A node that computes for node 0. `agreed` are as the leader's."""

    def __init__(self, node: Node, agreed: Mapping[str, Any]) -> None:
        super().__init__()
        self._node = node
        self._agreed = agreed
        self._line: Line | None = None
        self._missing: str | None = None  # why node 0 is not reached
        self._leads = False  # it answers
        self._released = False
        self._listening: asyncio.Task[None] | None = None

    async def meet(self, say: Say) -> str:
        where = f"{self._node.leader}:{self._node.rendezvous_port}"
        while True:
            self._line = await self._reached(where, say)
            say(f"waiting for the other nodes, which meet at {where}")
            self._line.say("hello", {"node": self._node.rank, "agreed": dict(self._agreed)})
            said = await self._line.hear()
            if "refused" in said:
                raise StartError(f"Node 0 at {where} refuses this node. {said['refused']}")
            if "met" in said:
                self._listening = asyncio.create_task(self._listen(self._line))
                return str(said["met"])
            if "stopping" in said:
                self._told = "node 0"
                self._changed.set()
                await asyncio.Event().wait()  # whoever awaits `parted` ends this
            self._line.close()
            self._line = None
            await self._missed(where, "it hung up", say)

    async def ready(self, check: Callable[[], Awaitable[None]]) -> None:
        while not self._leads:
            await check()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CHECK_SECONDS):
                    await self._change()

    def stop(self) -> None:
        super().stop()
        if self._line is not None:
            self._line.say("stopping")

    async def released(self) -> None:
        while self._listening is not None and not self._released:
            await self._change()

    def close(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
        if self._line is not None:
            self._line.close()

    async def _reached(self, where: str, say: Say) -> Line:
        while True:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    return Line(*await asyncio.open_connection(self._node.leader, self._node.rendezvous_port))
            except OSError as fault:  # TimeoutError is one
                await self._missed(where, str(fault) or f"no answer within {CONNECT_SECONDS:g} s", say)

    async def _missed(self, where: str, reason: str, say: Say) -> None:
        waiting = f"waiting for node 0 at {where} (OPTION_MASTER_ADDR): {reason}"
        say(waiting)
        if reason != self._missing:
            log.info(waiting)
        self._missing = reason
        await asyncio.sleep(RETRY_SECONDS)

    async def _listen(self, line: Line) -> None:
        while said := await line.hear():
            if "ready" in said:
                self._leads = True
            elif "stopping" in said:
                self._told = "node 0"
            self._changed.set()
        if self._told is None:
            self._lost = "The node that answers has ended"
        self._released = True
        self._changed.set()


def gathering(node: Node, agreed: Mapping[str, Any]) -> SingleNode:
    """How `node` and the others find each other."""
    if node.count == 1:
        return SingleNode()
    return Follower(node, agreed) if node.follows else Leader(node, agreed)


def _listener(port: int) -> socket.socket:
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except OSError as fault:
        raise StartError(
            f"Port {port}, the one after OPTION_MASTER_PORT, cannot be listened on ({os.strerror(fault.errno or 0)}), and the other nodes "
            "look for node 0 there; choose another OPTION_MASTER_PORT, the same on all nodes."
        ) from fault


def _numbered(nodes: list[int]) -> str:
    return f"node{'s' if len(nodes) > 1 else ''} {', '.join(map(str, nodes))}"
