"""What a model.py written for LMI imports: `from djl_python import Input, Output`. It is known by that name once
`handler.djl.shim` has registered it. Names are LMI's; what has no place here says so where it is imported."""

from typing import Any

from .inputs import Input
from .outputs import Output
from .pair_list import PairList

__all__ = ["Input", "Output", "PairList"]

_SESSIONS = (
    "cannot be imported from djl_python here: sessions are kept by the server, not by user code. Leave the import out; "
    "a handler that needs state of its own may keep it in its module."
)


def __getattr__(name: str) -> Any:
    if name in ("SessionManager", "Session"):
        raise ImportError(f"{name} {_SESSIONS}")
    raise AttributeError(f"module 'djl_python' has no attribute {name!r}")
