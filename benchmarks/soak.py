"""What grows while Lumi runs at capacity with a new image in each request. See README.md."""

import argparse
import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import psutil
import report
from load import Answer, ask_in_turn
from servers import SETTINGS, Server, StartFailed, lumi_alone

CLIENTS = 64  # twice the sequences that run at once
CACHE_GB = 0.05  # vLLM's cache of processed images: full after some 1,300, so that it does not grow in the second half
SAMPLES = 120
SHARED_MEMORY = "/dev/shm"
MIB = 2**20


@dataclass(frozen=True)
class Usage:
    """Of a process, or the sum of several: bytes, and numbers."""

    rss: int
    threads: int
    files: int


@dataclass(frozen=True)
class Sample:
    """By the titles of the server's processes; `shared` in bytes, of the whole machine."""

    processes: dict[str, Usage]
    shared: int


def main(arguments: Sequence[str]) -> int:
    """Measure and print; the exit code is 1 where a request was not answered with 200, or the server does not start."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="how long requests are sent (default: 60)")
    seconds = parser.parse_args(arguments).minutes * 60
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exception, so that the server is ended
    load = os.getloadavg()[0]
    try:
        with lumi_alone({**SETTINGS, "mm_processor_cache_gb": CACHE_GB}) as server:
            samples, answers = _watch(server, seconds)
    except StartFailed as fault:
        print(fault, file=sys.stderr)
        return 1
    print(_growth(samples), _answers(answers), sep="\n\n")
    print(f"\n- load average before the start: {load:.1f}\n{report.machine()}\n\n`{report.command(arguments)}`")
    return int(any(answer.status != 200 for answer in answers))


def _watch(server: Server, seconds: float) -> tuple[Sequence[Sample], Sequence[Answer]]:
    samples: list[Sample] = []
    with get_context("spawn").Pool(1) as pool:
        began = time.monotonic()
        asked = pool.apply_async(ask_in_turn, (str(server.client.base_url), CLIENTS, seconds))
        while not asked.ready() and len(samples) < SAMPLES:
            asked.wait(began + seconds * (len(samples) + 1) / SAMPLES - time.monotonic())
            samples.append(_sample(server.process.pid))
            _progress(samples[-1], time.monotonic() - began)
        return samples, asked.get()


def _sample(pid: int) -> Sample:
    parent = psutil.Process(pid)
    processes: dict[str, Usage] = {}
    for process in (parent, *parent.children(recursive=True)):
        try:
            title = "front end" if process == parent else _title(process)
            usage = Usage(process.memory_info().rss, process.num_threads(), process.num_fds())
        except psutil.NoSuchProcess:
            continue
        before = processes.get(title, Usage(0, 0, 0))
        processes[title] = Usage(before.rss + usage.rss, before.threads + usage.threads, before.files + usage.files)
    return Sample(processes, shutil.disk_usage(SHARED_MEMORY).used)


def _title(process: psutil.Process) -> str:
    program, *arguments = process.cmdline() or [process.name()]
    return " ".join((Path(program).name, *arguments))[:30].strip()


def _growth(samples: Sequence[Sample]) -> str:
    """From half of the time to its end, each a tenth of the samples: their median."""
    tenth = max(1, len(samples) // 10)
    half, end = samples[len(samples) // 2 :][:tenth], samples[-tenth:]
    memory = psutil.virtual_memory().total
    rows = []
    for title in sorted({title for sample in (*half, *end) for title in sample.processes}):
        before, after = (_median([sample.processes.get(title) for sample in some]) for some in (half, end))
        grown = after.rss - before.rss
        rows.append(
            [
                title,
                f"{before.rss / MIB:.1f}",
                f"{after.rss / MIB:.1f}",
                f"{grown / MIB:+.1f}",
                f"{100 * grown / (before.rss or after.rss):+.2f} %",
                f"{100 * grown / memory:+.3f} %",
                f"{before.threads} to {after.threads}",
                f"{before.files} to {after.files}",
            ]
        )
    shared = [median(sample.shared for sample in some) / MIB for some in (half, end)]
    rows.append([SHARED_MEMORY, *(f"{size:.1f}" for size in shared), f"{shared[1] - shared[0]:+.1f}", "", "", "", ""])
    head = ["", "MiB at half", "at the end", "growth", "of itself", "of the machine", "threads", "files"]
    return report.markdown(head, rows)


def _median(usages: Sequence[Usage | None]) -> Usage:
    known = [usage or Usage(0, 0, 0) for usage in usages]
    return Usage(*(int(median(getattr(usage, name) for usage in known)) for name in ("rss", "threads", "files")))


def _answers(answers: Sequence[Answer]) -> str:
    middle = (min(answer.sent for answer in answers) + max(answer.sent for answer in answers)) / 2
    halves = (
        [answer for answer in answers if answer.sent < middle],
        [answer for answer in answers if answer.sent >= middle],
    )
    rows = []
    for name, half in zip(("first half", "second half"), halves, strict=True):
        took = max(answer.sent for answer in half) - min(answer.sent for answer in half)
        seconds = [answer.seconds for answer in half]
        statuses = ", ".join(f"{count} x {status}" for status, count in Counter(a.status for a in half).items())
        row = [name, statuses, f"{len(half) / took:.1f}", *report.milliseconds(seconds)]
        rows.append(row)
    return report.markdown(["", "answers", "a second", "median ms", "p99 ms"], rows)


def _progress(sample: Sample, seconds: float) -> None:
    sizes = ", ".join(f"{title} {usage.rss / MIB:.0f}" for title, usage in sample.processes.items())
    print(f"{seconds:.0f} s, MiB: {sizes}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
