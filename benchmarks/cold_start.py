"""From the start of the process to /ping 200: Lumi beside `vllm serve`, alternating. See README.md."""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import psutil
import report
from servers import SETTINGS, START_SECONDS, Server, StartFailed, lumi, shipped_model, vllm_serve

POLL_SECONDS = 0.02
# What ends each phase is a line that vLLM logs in both servers; the last one ends when /ping says 200.
PHASES = (
    ("imports of the front end; the model's class is inspected", "Resolved architecture"),
    ("configuration; the engine core's process and imports", "Initializing a V1 LLM engine"),
    ("the worker's process and imports", "Starting to load model"),
    ("the model is built, its weights are read", "Loading weights took"),
    ("profiling, KV cache, compilation", "init engine ("),
    ("the front end's last steps and first request", None),
)
Start = Callable[..., Server]


@dataclass(frozen=True)
class ColdStart:
    """Seconds: of the clock, of CPU in all processes, and of each phase."""

    wall: float
    cpu: float
    phases: tuple[float, ...]


def main(arguments: Sequence[str]) -> int:
    """Measure and print; the exit code is 1 where a server does not start."""
    options = _parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exception, so that the servers are ended
    settings = {**SETTINGS, "enforce_eager": not options.compile}
    if options.model is not None:
        settings["dtype"] = "auto"
    settings = {name: value for name, value in settings.items() if value is not False}
    load = os.getloadavg()[0]
    try:
        with tempfile.TemporaryDirectory(prefix="cold-start-") as directory:
            pairs = _measure(Path(directory), settings, options)
    except StartFailed as fault:
        print(fault, file=sys.stderr)
        return 1
    print(_table(pairs), f"- load average before the start: {load:.1f}\n{report.machine()}", sep="\n\n")
    print(f"\n`{report.command(arguments)}`")
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="starts of each server that count (default: 3)")
    parser.add_argument(
        "--model", type=Path, help="a directory, in place of the model that ships; in the dtype of its weights"
    )
    parser.add_argument("--compile", action="store_true", help="compile the model, in place of enforce_eager")
    parser.add_argument("--kept", action="store_true", help="keep vLLM's caches from one start of a server to the next")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error("--rounds is at least 1")
    return options


def _measure(
    directory: Path, settings: Mapping[str, Any], options: argparse.Namespace
) -> list[tuple[ColdStart, ColdStart]]:
    model = options.model or shipped_model(directory)
    pairs = []
    for number in range(options.rounds + 1):
        turn: dict[Start, ColdStart] = {}
        for start in (vllm_serve, lumi) if number % 2 else (lumi, vllm_serve):
            caches = directory / (start.__name__ if options.kept else f"{start.__name__}-{number}")
            turn[start] = _measure_start(start, model, directory, caches, settings)
            print(f"{number}/{options.rounds} {start.__name__}: {turn[start].wall:.1f} s", file=sys.stderr, flush=True)
        pairs.append((turn[vllm_serve], turn[lumi]))
    # The first pair wrote the bytecode, which an image holds already.
    return pairs[1:]


def _measure_start(start: Start, model: Path, directory: Path, caches: Path, settings: Mapping[str, Any]) -> ColdStart:
    """One start, from nothing but bytecode (and `caches`, where they are there) to ready, and its end."""
    if start is lumi:
        kept = {"OPTION_COMPILE_CACHE_DIR": str(caches)}
    else:
        kept = {"VLLM_CACHE_ROOT": str(caches), "TORCHINDUCTOR_CACHE_DIR": str(caches / "inductor")}
    # PyTorch keeps more where temporary files go, which is empty in a new container.
    with tempfile.TemporaryDirectory(dir=directory, ignore_cleanup_errors=True) as temporary:
        return _watch_start(start, model, directory, settings, TMPDIR=temporary, **kept)


def _watch_start(start: Start, model: Path, directory: Path, settings: Mapping[str, Any], **environ: str) -> ColdStart:
    _drop(model)
    began = time.monotonic()
    server = start(
        model,
        directory,
        settings,
        PYTHONPYCACHEPREFIX=str(directory / "bytecode"),
        PYTHONDONTWRITEBYTECODE="",
        **environ,
    )
    try:
        ends = _phase_ends(server, began)
        return ColdStart(ends[-1] - began, _cpu_seconds(server), _durations(began, ends))
    finally:
        server.end()


def _drop(model: Path) -> None:
    """Drop the model's files from the page cache, as on a machine that has just received them."""
    for path in filter(Path.is_file, model.iterdir()):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _phase_ends(server: Server, began: float) -> list[float]:
    """When each phase ended."""
    ends: dict[str, float] = {}
    while time.monotonic() - began < START_SECONDS and server.process.poll() is None:
        text = server.log.read_text(errors="replace")
        for _, mark in PHASES:
            if mark is not None and mark not in ends and mark in text:
                ends[mark] = time.monotonic()
        try:
            if server.client.get("/ping").status_code == 200:
                # A line that was not seen in time, as its phase took no time.
                return [ends.get(mark or "", time.monotonic()) for _, mark in PHASES]
        except httpx.TransportError:
            pass
        time.sleep(POLL_SECONDS)
    raise StartFailed(f"{server.name} did not start:\n{server.log.read_text(errors='replace')[-4000:]}")


def _durations(began: float, ends: Sequence[float]) -> tuple[float, ...]:
    return tuple(end - before for before, end in zip((began, *ends[:-1]), ends, strict=True))


def _cpu_seconds(server: Server) -> float:
    """User and system time of all its processes, also of those that have ended."""
    front_end = psutil.Process(server.process.pid)
    return sum(sum(process.cpu_times()[:4]) for process in (front_end, *front_end.children(recursive=True)))


def _table(pairs: Sequence[tuple[ColdStart, ColdStart]]) -> str:
    rows = [["seconds", "`vllm serve`", "Lumi", "ratio", "lowest to highest"], ["---"] * 5]
    for number, (name, _) in enumerate(PHASES):
        rows.append(_row(name, [(theirs.phases[number], ours.phases[number]) for theirs, ours in pairs], ratio=False))
    rows.append(_row("**from the start to /ping 200**", [(theirs.wall, ours.wall) for theirs, ours in pairs]))
    rows.append(_row("**CPU of all processes**", [(theirs.cpu, ours.cpu) for theirs, ours in pairs]))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(name: str, pairs: Sequence[tuple[float, float]], *, ratio: bool = True) -> list[str]:
    ratios = [ours / theirs for theirs, ours in pairs]
    theirs, ours = (f"{median(side):.1f}" for side in zip(*pairs, strict=True))
    shown = [f"**{median(ratios):.2f}**", f"{min(ratios):.2f} to {max(ratios):.2f}"] if ratio else ["", ""]
    return [name, theirs, ours, *shown]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
