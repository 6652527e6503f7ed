"""How glibc's allocator treats image-sized blocks in this process."""

import ctypes

# mallopt(3)'s numbers for its parameters.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
KEPT_BYTES = 2**28


def keep_large_blocks() -> None:
    """Reuse memory that images leave behind, up to KEPT_BYTES, in place of giving it back and asking anew.

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
