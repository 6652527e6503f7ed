"""PyTorch's precompiled header of the kernels for CPUs: made when a kernel is compiled, in place of at every start."""

import os
from collections.abc import Callable, Sequence
from typing import Any

from torch._inductor import codecache

Build = Callable[[str, Sequence[Any]], None]


def precompile_when_needed() -> None:
    """Have PyTorch put the header off until it compiles a kernel.

    It makes one, in five seconds, before it looks whether the kernels are there, and leaves it in the temporary
    directory, which is empty in each new container.
    """
    codecache._worker_compile_cpp = _putting_off(codecache._worker_compile_cpp)  # noqa: SLF001  # nowhere else


def _putting_off(build: Build) -> Build:
    """`build`, which makes what is missing of what builders make, alone under a lock; but not yet a header."""
    headers: list[tuple[str, Sequence[Any]]] = []

    def build_late(lock: str, builders: Sequence[Any]) -> None:
        if os.path.dirname(lock) == codecache._HEADER_LOCK_DIR:  # noqa: SLF001, PTH120  # as PyTorch writes it
            headers.append((lock, builders))
            return
        if not all(os.path.exists(builder.get_target_file_path()) for builder in builders):  # noqa: PTH110  # a str
            for header in headers:
                build(*header)
        build(lock, builders)

    return build_late
