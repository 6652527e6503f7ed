"""What a model.py written for LMI imports: `from djl_python import Input, Output`. `handler.djl.import_hook` registers it
by that name. All names are LMI's. Importing one that is not available here raises an ImportError with the reason."""

from typing import Any

from .inputs import Input
from .outputs import Output
from .pair_list import PairList

__all__ = ["Input", "Output", "PairList"]

_NO_SESSIONS = (
    "is not available in djl_python here: the server manages sessions, not user code. Remove the import; a handler "
    "that needs state can keep it in its module."
)


def __getattr__(name: str) -> Any:
    if name in ("SessionManager", "Session"):
        raise ImportError(f"{name} {_NO_SESSIONS}")
    raise AttributeError(f"module 'djl_python' has no attribute {name!r}")
