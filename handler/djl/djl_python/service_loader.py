"""Loads another Python file of the model directory as a service, for handlers that consist of several files."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any


class ModelService:
    """A module whose functions take an Input."""

    def __init__(self, module: ModuleType, model_dir: str) -> None:
        self.module = module
        self.model_dir = model_dir

    def invoke_handler(self, function_name: str, inputs: Any) -> Any:
        inputs.properties["model_dir"] = self.model_dir
        return getattr(self.module, function_name)(inputs)


def load_model_service(model_dir: str, entry_point: str, device_id: Any = -1) -> ModelService:  # noqa: ARG001  # LMI's signature
    """The module that `entry_point` names: a file in `model_dir`, an absolute path, or an importable module.

    A loaded file, such as the entry point, is not executed again. Raises ValueError.
    """
    if not entry_point.endswith(".py") and not Path(entry_point).is_absolute():
        return ModelService(importlib.import_module(entry_point), model_dir)
    path = (Path(model_dir) / entry_point).resolve()
    if not path.is_file():
        raise ValueError(f"There is no file {path} to load as a service.")
    return ModelService(_find_loaded(path) or _load(path), model_dir)


def has_function_in_module(module: ModuleType, function_name: str) -> bool:
    return callable(getattr(module, function_name, None))


def _find_loaded(path: Path) -> ModuleType | None:
    modules = [module for module in list(sys.modules.values()) if getattr(module, "__file__", None)]
    return next((module for module in modules if Path(str(module.__file__)).resolve() == path), None)


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module
