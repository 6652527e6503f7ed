"""What two nodes of an engine say to each other, over a connection that both watch."""

import asyncio
import json
import socket
from typing import Any

# A machine that goes without a word is found out by the kernel, however busy this process is: seconds until it asks,
# seconds between two questions, and how many are left unanswered.
KEEPALIVE = {socket.TCP_KEEPIDLE: 5, socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 3}


class Line:
    """A connection of two nodes. What is said on it is a JSON object of one member, {word: what about it}."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE.items():
            sock.setsockopt(socket.IPPROTO_TCP, option, value)

    def say(self, word: str, about: Any = None) -> None:
        if not self._writer.is_closing():
            self._writer.write(json.dumps({word: about}).encode() + b"\n")

    async def hear(self) -> dict[str, Any]:
        """What the other says next; nothing when it has gone, or is none of ours."""
        try:
            said = json.loads(await self._reader.readline())
        except (OSError, ValueError, RecursionError):  # it was cut, is too long, too deep, or no JSON
            return {}
        return said if isinstance(said, dict) else {}

    @property
    def address(self) -> str:
        """Of this end, as the other has dialled it."""
        address: str = self._writer.get_extra_info("sockname")[0]
        return address.removeprefix("::ffff:")  # IPv4 on a socket for both

    def close(self) -> None:
        self._writer.close()
