"""A directory -> the environment with which vLLM and its compilers keep what they compile there for the next start."""

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

# The variable with the directory of each cache -> its name in ours.
_VARIABLES = {
    "VLLM_CACHE_ROOT": "vllm",  # graphs of torch.compile, and what the inspection of models' classes found
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TRITON_CACHE_DIR": "triton",
    "FLASHINFER_WORKSPACE_BASE": "flashinfer",
    "CUDA_CACHE_PATH": "cuda",
}
# The CPU build of vLLM 0.32 saves functions that were compiled ahead of time, but cannot load them: loading calls
# `finalize_loading`, which the functions of this build lack. It would compile again at each start, and leave files that
# are never read. Without this, PyTorch's own cache of graphs and kernels is used, which works.
_WITHOUT_AHEAD_OF_TIME = {"VLLM_USE_AOT_COMPILE": "0"}
_CPUINFO = Path("/proc/cpuinfo")
LINKING_SECONDS = 60  # another container may still be linking a library that is younger
_ELF_HEADER = 64  # bytes, of a 64-bit file


def cache_environment(directory: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment that keeps everything that is compiled in `directory`. Truncated libraries in it are removed.

    Raises OptionError if the directory is not writable: otherwise each start would compile anew, without a reason given.
    """
    root = Path(directory)
    try:
        root.mkdir(parents=True, exist_ok=True)
        # With a random name, as another container may be trying the same.
        tempfile.TemporaryFile(dir=root).close()
    except OSError as fault:
        raise OptionError(
            f"OPTION_COMPILE_CACHE_DIR={directory!r} cannot be written to ({fault.strerror}); mount a volume there that "
            "this user can write to, or remove the option."
        ) from fault
    on_cpu = cuda() is None
    if on_cpu:
        root /= f"cpu-{processor_key(_CPUINFO.read_text(), environ)}"
    caches = {variable: root / name for variable, name in _VARIABLES.items()}
    for cache in caches.values():
        _remove_truncated(cache)
    return {
        **{variable: str(cache) for variable, cache in caches.items()},
        **(_WITHOUT_AHEAD_OF_TIME if on_cpu else {}),
    }


def _remove_truncated(directory: Path) -> None:
    # If the linker is killed or the machine goes down, half a library is left under the final name. Loading it would kill
    # the engine with a signal, at this start and at every later one.
    for parent, _, names in os.walk(directory):
        for library in (Path(parent, name) for name in names if name.endswith(".so")):
            with contextlib.suppress(OSError):  # removed meanwhile, or not ours to remove
                if _is_truncated(library):
                    library.unlink()
                    log.warning("removed %s, which was truncated; it will be compiled again", library)


def _is_truncated(library: Path) -> bool:
    status = library.stat()
    return time.time() - status.st_mtime > LINKING_SECONDS and _minimum_size(library) > status.st_size


def _minimum_size(library: Path) -> float:
    """The bytes that an ELF file has at least, infinite for another file: linkers write the section table last."""
    with library.open("rb") as file:
        header = file.read(_ELF_HEADER)
    if len(header) < _ELF_HEADER or not header.startswith(b"\x7fELF"):
        return math.inf
    (table,) = struct.unpack_from("<Q", header, 40)
    size, number = struct.unpack_from("<HH", header, 58)
    return float(table + size * number)


def processor_key(cpuinfo: str, environ: Mapping[str, str]) -> str:
    """A key of the instructions that the processor in `cpuinfo` (see proc_cpuinfo(5)) can run.

    PyTorch compiles for the processor that it runs on, and does not check for which one its cache was filled: on another
    processor that gives wrong numbers or a crash.
    """
    lines = (line.partition(":") for line in cpuinfo.splitlines())
    # x86 calls them flags, ARM Features.
    features = {word for name, _, words in lines if name.strip() in ("flags", "Features") for word in words.split()}
    capability = environ.get("ATEN_CPU_CAPABILITY", "")
    return hashlib.sha256(" ".join([*sorted(features), capability]).encode()).hexdigest()[:12]
