"""The processes of an engine, for the one that started them: what they do now, and their end.

A process that hangs in native code runs no Python: it writes its stacks in a signal handler of faulthandler's, to a file
in memory of its own, which its ancestor finds in /proc by its name.
"""

import asyncio
import contextlib
import faulthandler
import logging
import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger("lumi.engine")

ANSWER_SECONDS = 5.0  # a process that the kernel holds never answers
KILL_SECONDS = 20.0  # the kernel takes its time to free the memory of a GPU
_SIGNAL = signal.SIGUSR1
_FILE = "lumi-stacks"
_STOPPED = "state T"
_PROC = Path("/proc")
_SHARED = re.compile(r"(?m) (/dev/shm/(?:psm_|torch_|nccl-|sem\.|VLLM_)[^\s/]+)$")


@dataclass(frozen=True, slots=True)
class _Process:
    """A process that answers the signal in the file `stacks`."""

    pid: int
    stacks: Path

    def state(self) -> str:
        directory = _PROC / str(self.pid)
        try:
            status = dict(line.split(":", 1) for line in (directory / "status").read_text().splitlines())
            name, state, threads = (status[key].strip() for key in ("Name", "State", "Threads"))
            wchan = (directory / "wchan").read_text().strip("0")
        except OSError:
            return "ended"
        return f"{name}, state {state}, {threads} threads" + (f", waits in the kernel in {wchan}" if wchan else "")

    def size(self) -> int:
        try:
            return self.stacks.stat().st_size
        except OSError:
            return 0

    def send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)


def answer_signal() -> None:
    """Have this process write the stacks of its threads when `report_processes` asks for them."""
    faulthandler.register(_SIGNAL, file=os.memfd_create(_FILE), all_threads=True)


async def report_processes() -> None:
    """Write to the log what this process and those of the engine below it do: states, and stacks where one answers."""
    for line in await asyncio.to_thread(_reports):
        log.error("%s", line)


def shared_memory() -> frozenset[Path]:
    """The files of shared memory that the processes of the engine have mapped: one that is killed leaves its own behind."""
    found: set[Path] = set()
    for process in _engine_processes():
        with contextlib.suppress(OSError):
            maps = (_PROC / f"{process.pid}/maps").read_text(errors="replace")
            found.update(map(Path, _SHARED.findall(maps)))
    return frozenset(found)


def kill_processes() -> None:
    """End the processes of the engine below this one, stopped ones as well, and wait until their memory is free: the next
    engine needs it."""
    deadline = time.monotonic() + KILL_SECONDS
    while (alive := _engine_processes()) and time.monotonic() < deadline:
        for process in alive:
            process.send(signal.SIGKILL)
        time.sleep(0.05)


def _reports() -> list[str]:
    asked = [(process, process.state(), process.size()) for process in _engine_processes()]
    for process, _, _ in asked:
        process.send(_SIGNAL)
    waiting = {process: size for process, state, size in asked if _STOPPED not in state}
    deadline = time.monotonic() + ANSWER_SECONDS
    while waiting and time.monotonic() < deadline:
        sizes = {process: process.size() for process in waiting}
        time.sleep(0.1)  # a process that has begun to write goes on without a pause
        waiting = {process: size for process, size in waiting.items() if not size < sizes[process] == process.size()}
    return [_own_stacks(), *(_report(process, state, size) for process, state, size in asked)]


def _report(process: _Process, state: str, size: int) -> str:
    try:
        stacks = process.stacks.read_bytes()[size:].decode(errors="replace").strip()
    except OSError:
        stacks = ""
    said = f":\n{stacks}" if stacks else "; it does not answer, so that its stacks are not known"
    return f"process {process.pid}: {state}{said}"


def _own_stacks() -> str:
    file = os.memfd_create(_FILE)
    try:
        faulthandler.dump_traceback(file, all_threads=True)
        return (
            f"process {os.getpid()}: the server itself:\n" + os.pread(file, 1 << 20, 0).decode(errors="replace").strip()
        )
    finally:
        os.close(file)


def _engine_processes() -> list[_Process]:
    return [_Process(pid, file) for pid in _descendants(os.getpid()) if (file := _stacks_file(pid)) is not None]


def _descendants(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for pid, parent in _parents():
        children.setdefault(parent, []).append(pid)
    found = [root]
    for pid in found:
        found += children.get(pid, ())
    return found[1:]


def _parents() -> Iterator[tuple[int, int]]:
    for directory in _PROC.iterdir():
        if not directory.name.isdigit():
            continue
        try:
            # After the name, which may have spaces and parentheses: state, parent.
            yield int(directory.name), int((directory / "stat").read_bytes().rpartition(b")")[2].split()[1])
        except OSError:
            continue  # it has ended meanwhile


def _stacks_file(pid: int) -> Path | None:
    try:
        files = list((_PROC / f"{pid}/fd").iterdir())
        return next((file for file in files if f"/memfd:{_FILE}" in str(file.readlink())), None)
    except OSError:
        return None  # it has ended, or belongs to another user
