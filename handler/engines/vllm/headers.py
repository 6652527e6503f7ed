"""PyTorch's precompiled header of the kernels for CPUs: made when a kernel is compiled, and not at every start."""

import os
from collections.abc import Callable, Sequence
from typing import Any

from handler.engines.vllm.private_names import PrivateName

Compile = Callable[[str, Sequence[Any]], None]


def precompile_when_needed() -> None:
    """Have PyTorch defer the header until it compiles a kernel.

    PyTorch makes one in five seconds before it checks whether the kernels exist, and leaves it in the temporary directory,
    which is empty in each new container.
    """
    PrivateName.COMPILE_CPP.set(_defer_headers(PrivateName.COMPILE_CPP.get(), PrivateName.HEADER_LOCKS.get()))


def _defer_headers(compile_missing: Compile, header_locks: str) -> Compile:
    """`compile_missing`, which makes the missing targets of builders under a lock, but headers only before a kernel."""
    headers: list[tuple[str, Sequence[Any]]] = []

    def compile_late(lock: str, builders: Sequence[Any]) -> None:
        if os.path.dirname(lock) == header_locks:  # noqa: PTH120  # as PyTorch writes it
            headers.append((lock, builders))
            return
        if not all(os.path.exists(builder.get_target_file_path()) for builder in builders):  # noqa: PTH110  # a str
            for header in headers:
                compile_missing(*header)
        compile_missing(lock, builders)

    return compile_late
