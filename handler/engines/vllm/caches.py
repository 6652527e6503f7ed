"""A directory -> where vLLM and what it compiles with keep their work from one start to the next."""

import contextlib
import hashlib
import logging
import math
import os
import struct
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from handler.engines.vllm import cuda
from handler.errors import OptionError

log = logging.getLogger("lumi.engine")

# What each calls the directory of its cache.
_VARIABLES = {
    "VLLM_CACHE_ROOT": "vllm",  # the graphs that torch.compile made, and what was learnt about models' classes
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TRITON_CACHE_DIR": "triton",
    "FLASHINFER_WORKSPACE_BASE": "flashinfer",
    "CUDA_CACHE_PATH": "cuda",
}
# The CPU build of vLLM 0.32 saves the function that was compiled ahead of time, and fails to load it: its load calls
# `finalize_loading`, which the functions of this build lack. It would compile again at each start, and leave files that
# nobody reads. Without it, PyTorch's own cache of graphs and kernels is used, and found.
_WITHOUT_AHEAD_OF_TIME = {"VLLM_USE_AOT_COMPILE": "0"}
_PROCESSOR = Path("/proc/cpuinfo")
LINKING_SECONDS = 60
_ELF_HEADER = 64  # bytes, in a file for 64 bits


def kept_in(directory: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment with which everything that is compiled is kept in `directory`.

    What was cut short there is removed. Raises OptionError where it cannot be written: each start would compile anew, and
    nobody would know why.
    """
    root = Path(directory)
    try:
        root.mkdir(parents=True, exist_ok=True)
        # A name of its own: another container may be trying the same.
        tempfile.TemporaryFile(dir=root).close()
    except OSError as fault:
        raise OptionError(
            f"OPTION_COMPILE_CACHE_DIR={directory!r} cannot be written to ({fault.strerror}); mount a volume there that "
            "this user may write to, or leave the option out."
        ) from fault
    on_cpu = cuda() is None
    if on_cpu:
        root /= f"cpu-{processor(_PROCESSOR.read_text(), environ)}"
    kept = {variable: root / name for variable, name in _VARIABLES.items()}
    for place in kept.values():
        _remove_cut_short(place)
    return {**{variable: str(place) for variable, place in kept.items()}, **(_WITHOUT_AHEAD_OF_TIME if on_cpu else {})}


def _remove_cut_short(directory: Path) -> None:
    # A linker that is killed, or the machine below it, leaves half a library under the final name. The engine would die of
    # it by a signal, at this start and at each that follows.
    for place, _, names in os.walk(directory):
        for library in (Path(place, name) for name in names if name.endswith(".so")):
            with contextlib.suppress(OSError):  # gone meanwhile, or not ours to remove
                if _is_cut_short(library):
                    library.unlink()
                    log.warning("%s was cut short, and is compiled anew", library)


def _is_cut_short(library: Path) -> bool:
    found = library.stat()
    # Of one that another container links at this moment nothing can be said.
    return time.time() - found.st_mtime > LINKING_SECONDS and _length(library) > found.st_size


def _length(library: Path) -> float:
    """The bytes that an ELF file has at least: the table of its sections is what linkers write last."""
    with library.open("rb") as file:
        header = file.read(_ELF_HEADER)
    if len(header) < _ELF_HEADER or not header.startswith(b"\x7fELF"):
        return math.inf
    (table,) = struct.unpack_from("<Q", header, 40)
    size, number = struct.unpack_from("<HH", header, 58)
    return float(table + size * number)


def processor(cpuinfo: str, environ: Mapping[str, str]) -> str:
    """A name for what can run on the processor that `cpuinfo` (see proc_cpuinfo(5)) describes.

    PyTorch compiles for the processor it runs on, and does not ask whether what it finds in its cache was: on another one
    that gives wrong numbers or a crash.
    """
    described = (line.partition(":") for line in cpuinfo.splitlines())
    # x86 calls them flags, ARM Features.
    abilities = {
        word for name, _, words in described if name.strip() in ("flags", "Features") for word in words.split()
    }
    chosen = environ.get("ATEN_CPU_CAPABILITY", "")
    return hashlib.sha256(" ".join([*sorted(abilities), chosen]).encode()).hexdigest()[:12]
