"""How fast a model on S3 is downloaded, compared with `aws s3 cp --recursive` from the same server, alternately.

    .venv/bin/python benchmarks/model_download.py

The server is tests/s3_server.py in a process of its own: it sends zeros from sparse files with sendfile(2), so the client is
what is measured. awscli is installed into a temporary environment, unless --aws names one.
"""

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
MIB = 2**20
SHARDS = 4
MIN_RATIO = 0.8  # of the speed of aws
LUMI = """
import asyncio, sys
from pathlib import Path
from container.model_store import fetch, locate
asyncio.run(fetch(locate(sys.argv[1]), lambda line: None, cache=Path(sys.argv[2])))
"""
SERVER = """
import sys, time
from pathlib import Path
from tests.s3_server import MIB, s3_served, sparse
directory, size, shards, part = Path(sys.argv[1]), *map(int, sys.argv[2:])
with s3_served() as s3:
    s3.put("m/config.json", sparse(directory / "config.json", 1000))
    for i in range(shards):
        s3.put(f"m/model-{i}.safetensors", sparse(directory / f"model-{i}", size // shards), part or None)
    print(s3.url, flush=True)
    time.sleep(1e6)
"""


@dataclass(frozen=True)
class Run:
    """One download, by a process of its own, from start to exit."""

    seconds: float
    cpu_seconds: float
    mebibytes: float


def main() -> int:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
        work = Path(name)
        aws = arguments.aws or _install_aws(work / "venv")
        size = int(arguments.gigabytes * 1e9)
        with _server(work / "source", size, arguments.part_mib) as url:
            runs = _run_alternately(work / "target", _commands(aws, work / "target"), _environ(url), arguments.rounds)
    return _report(runs, size)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=4)
    parser.add_argument("--part-mib", type=int, default=8, help="as uploaded; 0 for objects stored in one piece")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--directory", type=Path, help="where to download to; default: the temporary directory")
    parser.add_argument("--aws", type=Path, help="an installed aws")
    return parser.parse_args()


def _install_aws(directory: Path) -> Path:
    subprocess.run([sys.executable, "-m", "venv", directory], check=True)
    subprocess.run([directory / "bin" / "pip", "install", "-q", "awscli"], check=True)
    return directory / "bin" / "aws"


@contextlib.contextmanager
def _server(directory: Path, size: int, part_mib: int) -> Iterator[str]:
    numbers = (str(number) for number in (size, SHARDS, part_mib * MIB))
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(directory), *numbers], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def _commands(aws: Path, target: Path) -> Mapping[str, Sequence[str]]:
    return {
        "aws": [str(aws), "s3", "cp", "--recursive", "--only-show-errors", "s3://bucket/m", str(target)],
        "lumi": [sys.executable, "-c", LUMI, "s3://bucket/m", str(target)],
    }


def _environ(url: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    keys = {"AWS_ACCESS_KEY_ID": "who", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
    return {**kept, **keys, "AWS_ENDPOINT_URL": url, "AWS_CONFIG_FILE": "/none", "PYTHONPATH": str(ROOT)}


def _run_alternately(
    target: Path, commands: Mapping[str, Sequence[str]], environ: Mapping[str, str], rounds: int
) -> dict[str, list[Run]]:
    runs: dict[str, list[Run]] = {name: [] for name in commands}
    for i in range(rounds):
        for name in sorted(commands, reverse=i % 2 == 1):
            runs[name].append(_run(commands[name], environ))
            print(f"{name:5}{runs[name][-1].seconds:7.2f} s", flush=True)
            shutil.rmtree(target)
            os.sync()  # the writes of one run must not slow the next one down
    return runs


def _run(command: Sequence[str], environ: Mapping[str, str]) -> Run:
    begin = time.monotonic()
    process = subprocess.Popen(command, env=dict(environ))
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command[0]} failed")
    return Run(time.monotonic() - begin, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def _report(runs: Mapping[str, Sequence[Run]], size: int) -> int:
    print("\n| | seconds, median (least to most) | MB/s | CPU seconds | MiB of memory, most |\n|---|---|---|---|---|")
    speeds = {}
    for name, taken in runs.items():
        seconds = sorted(run.seconds for run in taken)
        speeds[name] = size / statistics.median(seconds) / 1e6
        cpu, memory = statistics.median(run.cpu_seconds for run in taken), max(run.mebibytes for run in taken)
        spread = f"{statistics.median(seconds):.2f} ({seconds[0]:.2f} to {seconds[-1]:.2f})"
        print(f"| {name} | {spread} | {speeds[name]:.0f} | {cpu:.1f} | {memory:.0f} |")
    ratio = speeds["lumi"] / speeds["aws"]
    print(f"\nLumi reaches {ratio:.0%} of the speed of aws s3 cp --recursive; required: {MIN_RATIO:.0%} or more.")
    return 0 if ratio >= MIN_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
