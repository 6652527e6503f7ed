"""Where a server on this machine listens: a small private file that `serve` writes and `ping` reads.

`ping` runs without the arguments of `serve`, and does not read S3: it cannot resolve all options that named the port.
"""

import contextlib
import json
import logging
import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

log = logging.getLogger("lumi.server")

MAX_BYTES = 512
_PATTERN = "lumi-server-*.json"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens, and its process. `started` tells the process from another that has the same number."""

    host: str
    port: int
    pid: int
    started: str


@contextlib.contextmanager
def publish_address(host: str, port: int) -> Iterator[None]:
    """Keep the file for the duration of the block. If it cannot be written, a warning is logged."""
    path = None
    try:
        path = _write(host, port)
    except OSError as fault:
        log.warning(
            "the address of this server cannot be written to a temporary file (%s); `ping` uses the port of the "
            "environment's options, while this server listens on %d",
            fault.strerror,
            port,
        )
    try:
        yield
    finally:
        if path is not None:
            with contextlib.suppress(OSError):
                path.unlink()


def live_addresses() -> list[Address]:
    """The addresses of this user's servers that run."""
    try:
        paths = sorted(_directory().glob(_PATTERN))
    except OSError:
        return []
    found = map(_read, paths)
    return [address for address in found if address is not None and address.started == _start_time(address.pid) != ""]


def _write(host: str, port: int) -> Path:
    pid = os.getpid()
    address = Address(host, port, pid, _start_time(pid))
    path = _directory() / _PATTERN.replace("*", f"{pid}-{address.started}-{port}")
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(file, "w") as stream:
        json.dump(asdict(address), stream)
    return path


def _read(path: Path) -> Address | None:
    """None for the file of another user, and for one that has no address."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
                return None
            fields = json.loads(file.read(MAX_BYTES))
        return Address(str(fields["host"]), int(fields["port"]), int(fields["pid"]), str(fields["started"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _start_time(pid: int) -> str:
    """When the process began, in the kernel's clock ticks; "" if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _directory() -> Path:
    """Raises FileNotFoundError if no directory for temporary files is writable."""
    return Path(tempfile.gettempdir())
