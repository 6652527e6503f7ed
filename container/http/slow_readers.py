"""Clients that do not read their responses: their connections are closed, and the bytes that wait for them are bounded."""

import asyncio
import contextlib
import fcntl
import struct
import termios

LEAST_BYTES = 2**16  # what a client has to take in `seconds`


class SlowReaders:
    """The connections whose client reads more slowly than it is sent to. One that takes next to nothing for `seconds` is
    closed; so is the one that has waited for longest when more than `max_bytes` wait for all of them."""

    def __init__(self, seconds: float = 30, max_bytes: int = 2**28) -> None:
        self._seconds = seconds
        self.max_bytes = max_bytes
        self._timers: dict[asyncio.WriteTransport, asyncio.TimerHandle] = {}

    @property
    def unread_bytes(self) -> int:
        """The bytes that wait for these clients."""
        return sum(transport.get_write_buffer_size() for transport in self._timers)

    def add(self, transport: asyncio.WriteTransport) -> None:
        """More is to be sent than the client has read."""
        self._watch(transport)
        while len(self._timers) > 1 and self.unread_bytes > self.max_bytes:
            self._close(next(iter(self._timers)))

    def remove(self, transport: asyncio.WriteTransport) -> None:
        """The client has read, or it is gone."""
        if (timer := self._timers.pop(transport, None)) is not None:
            timer.cancel()

    def _watch(self, transport: asyncio.WriteTransport) -> None:
        loop, size = asyncio.get_running_loop(), unread_bytes(transport)
        self._timers[transport] = loop.call_later(self._seconds, self._check, transport, size)

    def _check(self, transport: asyncio.WriteTransport, size_before: int) -> None:
        if size_before - unread_bytes(transport) < LEAST_BYTES:
            self._close(transport)
        else:
            self._watch(transport)

    def _close(self, transport: asyncio.WriteTransport) -> None:
        self.remove(transport)
        transport.abort()  # to close it would wait for the client


def unread_bytes(transport: asyncio.WriteTransport) -> int:
    """The bytes that the client has not received: in the transport, and in the kernel, which takes them in large lumps."""
    size = transport.get_write_buffer_size()
    if (sock := transport.get_extra_info("socket")) is not None:
        with contextlib.suppress(OSError, ValueError):  # it is closed
            size += struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0]
    return size
