"""A connection of two nodes: messages in and out, and its end when the other machine is gone."""

import asyncio
import json
import socket

# The kernel finds out that a machine is gone, however busy this process is: seconds until it probes an idle connection,
# seconds between two probes, and how many may go unanswered.
KEEPALIVE = {socket.TCP_KEEPIDLE: 5, socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 3}


class Connection:
    """A message is a line of JSON: an object of one member, {kind: content}. The kinds:

    hello     from a node to node 0: its rank and the options that all nodes share
    refused   from node 0, which then closes the connection: the reason
    met       from node 0, when all nodes are connected: its address
    ready     from node 0, when it answers requests
    stopping  from a node that was told to stop
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE.items():
            sock.setsockopt(socket.IPPROTO_TCP, option, value)

    def send(self, kind: str, content: object = None) -> None:
        if not self._writer.is_closing():
            self._writer.write(json.dumps({kind: content}).encode() + b"\n")

    async def receive(self) -> dict[str, object]:
        """The next message; an empty one if the connection has ended or what arrives is not a message."""
        try:
            message = json.loads(await self._reader.readline())
        except (OSError, ValueError, RecursionError):  # connection reset; line too long or not JSON; nested too deeply
            return {}
        return message if isinstance(message, dict) else {}

    @property
    def address(self) -> str:
        """Of this end, as the other end has reached it."""
        address: str = self._writer.get_extra_info("sockname")[0]
        return address.removeprefix("::ffff:")  # IPv4 on a dual-stack socket

    def close(self) -> None:
        self._writer.close()
