"""Makes `djl_python` importable: the package beside this file, under the name that a model.py written for LMI knows."""

import importlib
import pkgutil
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

from handler.djl import djl_python

NAME = "djl_python"


def register() -> None:
    """Let `import djl_python` find the very modules that the server uses, so that an Output is an Output."""
    if sys.modules.get(NAME) is djl_python:
        return
    sys.modules[NAME] = djl_python
    for found in pkgutil.iter_modules(djl_python.__path__):
        module = importlib.import_module(f"{djl_python.__name__}.{found.name}")
        sys.modules[f"{NAME}.{found.name}"] = module
    sys.meta_path.append(_Missing())


class _Missing:
    """Asked last: whatever of `djl_python` has not been found is a part of LMI that is not here."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:  # noqa: ARG004  # importlib's signature
        if not name.startswith(f"{NAME}."):
            return None
        raise ModuleNotFoundError(
            f"{name} is a part of LMI that is not here; docs/user-code.md lists what of {NAME} is. vLLM itself serves "
            "every model whose model.py has no handle.",
            name=name,
        )
