"""What this machine has, and what a model needs of it: a start that would fail minutes later fails within seconds."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from container.model_store import Kind, Located
from container.options import Options
from container.start.driver import Driver, driver_faults, read_driver
from handler.errors import StartError

MIB = 1024**2
GIB = 1024**3
# vLLM connects the processes of one engine by two ring buffers of 160 and 240 MiB, and checks that each fits.
RING_BYTES = 240 * MIB
TEMPORARY_BYTES = 16 * MIB  # for sockets, and the files of transformers and torch.compile
PROCESS_BYTES = 2 * GIB  # what the server and the engine take without weights; 1.9 GiB were measured
_UNLIMITED = 2**60  # cgroup v1 says "no limit" with a number near 2**63


@dataclass(frozen=True, slots=True)
class Machine:
    """What there is. Sizes are in bytes, and None if unknown."""

    gpus: int
    driver: Driver
    memory: int | None  # what this container may still take
    shared_memory: int | None  # free in /dev/shm
    temporary: int | None  # free in the directory for temporary files; None if it is not writable
    temporary_directory: str = "/tmp"  # noqa: S108  # its path
    temporary_runs: bool = True  # whether a library that is compiled there can be loaded


@dataclass(frozen=True, slots=True)
class Needs:
    """What a start needs. `cuda` is the major version that the engine is built for, or None for a CPU; `processes` share
    the model; `memory` is the bytes that weights and caches take of the machine's memory; `compiles` says whether
    torch.compile or Triton build libraries at run time."""

    cuda: int | None
    processes: int = 1
    memory: int = 0
    compiles: bool = False


@dataclass(frozen=True, slots=True)
class CheckedMachine:
    """A machine that has what `located` needs. That is None if the user's code needs no model of the server's."""

    machine: Machine
    located: Located | None


def check_machine(options: Options, located: Located | None, *, cuda: int | None) -> CheckedMachine:
    """Check this machine, for a vLLM that is built for `cuda`. Raises StartError."""
    machine = inspect()
    if located is not None:
        check_needs(machine, needs(options, located, gpus=machine.gpus, cuda=cuda))
    return CheckedMachine(machine, located)


def needs(options: Options, model: Located, *, gpus: int, cuda: int | None) -> Needs:
    """What the start needs of a machine with `gpus`; of memory, what is known before anything is loaded."""
    degree = options.tensor_parallel_degree
    tensor = (max(1, gpus) if cuda is not None else 1) if degree == "max" else degree
    weights = sum(
        file.stat().st_size for file in Path(model.source).glob("*.safetensors") if model.kind is Kind.DIRECTORY
    )
    return Needs(
        cuda=cuda,
        processes=tensor * options.pipeline_parallel_degree,
        memory=weights + (options.kv_cache_memory_bytes or 0),
        compiles=cuda is not None or not options.enforce_eager,
    )


def inspect(root: Path = Path("/")) -> Machine:
    """The machine that this runs on, or the one whose files are in `root`."""
    temporary = _temporary_directory(root)
    gpus = len(list((root / "dev").glob("nvidia[0-9]*"))) or int((root / "dev" / "dxg").exists())
    return Machine(
        gpus=gpus,
        driver=read_driver(root, gpus),
        memory=available_memory(root),
        shared_memory=_free(root / "dev" / "shm"),
        temporary=_free(temporary) if temporary and os.access(temporary, os.W_OK) else None,
        temporary_directory=str(temporary or "/tmp"),  # noqa: S108  # only a name in a sentence
        temporary_runs=not (temporary and temporary.exists() and os.statvfs(temporary).f_flag & os.ST_NOEXEC),
    )


def available_memory(root: Path = Path("/")) -> int | None:
    """The bytes of memory that this container may still take, None if unknown."""
    return min(_memories(root), default=None)


def check_needs(machine: Machine, needs: Needs) -> None:
    """Raises StartError with everything that is missing, each with its cure."""
    faults = [*_graphics(machine, needs), *_memory(machine, needs), *_directories(machine, needs)]
    if faults:
        raise StartError("\n".join(faults))


def _graphics(machine: Machine, needs: Needs) -> Iterator[str]:
    if needs.cuda is None:
        return
    if machine.gpus == 0:
        yield (
            "This build of Lumi needs an NVIDIA GPU, and this machine has none. Start the container with --gpus all (and the "
            "NVIDIA container toolkit on the host), choose an instance with a GPU, or use the cpu image."
        )
    else:
        yield from driver_faults(machine.driver, needs.cuda)


def _memory(machine: Machine, needs: Needs) -> Iterator[str]:
    needed = needs.memory + PROCESS_BYTES
    if needs.cuda is None and machine.memory is not None and machine.memory < needed:
        yield (
            f"The model and its cache take {_gib(needs.memory)} of memory and the processes around them about "
            f"{_gib(PROCESS_BYTES)}, but this machine or container has {_gib(machine.memory)}. Give it more (docker run "
            "--memory), or serve a smaller or quantized model; OPTION_KV_CACHE_MEMORY_BYTES sets the cache."
        )


def _directories(machine: Machine, needs: Needs) -> Iterator[str]:
    if needs.processes > 1 and machine.shared_memory is not None and machine.shared_memory < RING_BYTES:
        yield (
            f"{needs.processes} processes share the model through /dev/shm, which has {machine.shared_memory // MIB} MiB "
            f"free and needs {RING_BYTES // MIB} MiB. Start the container with --shm-size 1g (or --ipc host), or set "
            "OPTION_TENSOR_PARALLEL_DEGREE=1 and OPTION_PIPELINE_PARALLEL_DEGREE=1."
        )
    if machine.temporary is None:
        yield (
            f"The directory for temporary files, {machine.temporary_directory}, is not writable, and sockets and caches go "
            "there. With a read-only root start the container with --tmpfs /tmp:exec, or mount a directory there."
        )
    elif machine.temporary < TEMPORARY_BYTES:
        yield (
            f"{machine.temporary_directory} has {machine.temporary // MIB} MiB free, and sockets and caches need "
            f"{TEMPORARY_BYTES // MIB} MiB. Free some space, or mount a larger disk there."
        )
    elif needs.compiles and not machine.temporary_runs:
        yield (
            f"{machine.temporary_directory} is mounted noexec (Docker's default for --tmpfs), and kernels are compiled "
            "there. Start the container with --tmpfs /tmp:exec, or on a CPU set OPTION_ENFORCE_EAGER=true."
        )


def _memories(root: Path) -> Iterator[int]:
    """The memory that the kernel reports as available, and what the limits of control groups leave (v2 and v1)."""
    if found := re.search(r"MemAvailable:\s+(\d+) kB", _text(root / "proc/meminfo")):
        yield int(found[1]) * 1024
    for directory, limit, usage, reclaimable in (
        ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
        ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        text = _text(root / directory / limit).strip()
        if not text.isdigit() or int(text) >= _UNLIMITED:
            continue
        used = _text(root / directory / usage).strip()
        found = re.search(rf"^{reclaimable} (\d+)$", _text(root / directory / "memory.stat"), re.MULTILINE)
        freed = int(found[1]) if found else 0
        yield int(text) - (max(0, int(used) - freed) if used.isdigit() else 0)


def _temporary_directory(root: Path) -> Path | None:
    if root != Path("/"):
        return root / "tmp"
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:  # no directory is writable
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _free(directory: Path) -> int | None:
    try:
        return shutil.disk_usage(directory).free
    except OSError:
        return None


def _gib(amount: int) -> str:
    return f"{amount / GIB:.1f} GiB"
