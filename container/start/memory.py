"""Memory of this process: how glibc's allocator treats image-sized blocks, and whether the kernel has run out of it."""

import ctypes
import logging
import re
from pathlib import Path

log = logging.getLogger("lumi")

# mallopt(3)'s numbers for its parameters.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
KEPT_BYTES = 2**28


def keep_large_blocks() -> None:
    """Reuse memory that images leave behind, up to KEPT_BYTES, instead of returning it to the kernel.

    glibc maps each block above 32 MB freshly, and a 12-megapixel image passes through several: about 26,000 page faults a
    request, which cost more than its JPEG. Does nothing where the C library is another. The engine's processes, which
    are spawned, keep their defaults.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    for parameter, value in ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, KEPT_BYTES)):
        mallopt(parameter, value)


def report_kill_for_memory() -> None:
    """Write to the log that memory ran out, if it did; to be called when a process has ended."""
    if is_killed_for_memory():
        log.error(
            "the kernel has killed a process here because memory ran out; give the container more (docker run --memory), "
            "or set OPTION_KV_CACHE_MEMORY_BYTES lower"
        )


def is_killed_for_memory(root: Path = Path("/")) -> bool:
    """Whether the kernel has killed a process of this container because memory ran out (control groups v2 and v1)."""
    for name in ("sys/fs/cgroup/memory.events", "sys/fs/cgroup/memory/memory.oom_control"):
        try:
            text = (root / name).read_text()
        except OSError:
            continue
        if re.search(r"(?m)^oom_kill [1-9]", text):
            return True
    return False
