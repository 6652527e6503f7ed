"""Makes `djl_python` importable: the package beside this file, under the name that a model.py written for LMI uses."""

import importlib
import pkgutil
import sys
from importlib.machinery import ModuleSpec

from handler.djl import djl_python

NAME = "djl_python"


def register_djl_python() -> None:
    """Let `import djl_python` find the modules that the server itself uses, so that an Output is an Output."""
    if sys.modules.get(NAME) is djl_python:
        return
    sys.modules[NAME] = djl_python
    for found in pkgutil.iter_modules(djl_python.__path__):
        module = importlib.import_module(f"{djl_python.__name__}.{found.name}")
        sys.modules[f"{NAME}.{found.name}"] = module
    sys.meta_path.append(_MissingModules())


class _MissingModules:
    """The last finder: a module of `djl_python` that no other finder has found is a part of LMI that Lumi lacks."""

    @staticmethod
    def find_spec(name: str, *_: object) -> ModuleSpec | None:
        if not name.startswith(f"{NAME}."):
            return None
        raise ModuleNotFoundError(
            f"{name} is a part of LMI that is not available here; docs/user-code.md lists the modules of {NAME} that "
            "are. vLLM itself serves every model whose model.py has no handle.",
            name=name,
        )
