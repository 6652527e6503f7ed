"""config.json -> the configuration of a model and of its language part, with transformers' defaults for what is left out."""

import ast
import functools
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# By what name a configuration has that of its language part, or of what holds it.
_TEXT = ("text_config", "llm_config", "language_config", "language_model_config")
_OUTER = ("thinker_config",)
VISION = ("vision_config", "visual", "vision_tower_config", "vit_config")


def text_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of the language part, which may be all of it. Fields without a value have transformers' default."""
    config = _inside(config)
    for name in _TEXT:
        if isinstance(config.get(name), Mapping):
            return complete({"model_type": default_type(config, name), **config[name]})
    return complete(config)


def vision_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """That of the vision tower; {} if there is none."""
    config = _inside(config)
    found = next((name for name in VISION if isinstance(config.get(name), Mapping)), None)
    return complete({"model_type": default_type(config, found), **config[found]}) if found else {}


def complete(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with transformers' defaults for its type."""
    return {**_defaults(str(config.get("model_type", ""))), **config}


def default_type(config: Mapping[str, Any], part: str) -> str:
    """The model type of a part that names none, as in llava's first checkpoints."""
    own = f"{config.get('model_type')}_{part.removesuffix('_config')}"
    if _configuration_file(own):
        return own
    return "llama" if part in _TEXT else "clip_vision_model"


def _inside(config: Mapping[str, Any]) -> Mapping[str, Any]:
    return next((config[name] for name in _OUTER if isinstance(config.get(name), Mapping)), config)


@functools.cache
def _defaults(model_type: str) -> Mapping[str, Any]:
    """The literal defaults in the class of this type, read from transformers' source: importing it takes many seconds."""
    file = _configuration_file(model_type)
    if file is None:
        return {}
    classes = [node for node in ast.parse(file.read_text()).body if isinstance(node, ast.ClassDef)]
    found = next(each for each in classes if _model_type(each) == model_type)
    return {
        field.target.id: field.value.value
        for field in found.body
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(field.value, ast.Constant)
        and field.value.value is not None
    }


@functools.cache
def _configuration_file(model_type: str) -> Path | None:
    spec = importlib.util.find_spec("transformers")
    if not model_type or spec is None or spec.origin is None:
        return None
    line = f'model_type = "{model_type}"\n'
    files = (Path(spec.origin).parent / "models").glob("*/configuration_*.py")
    return next((path for path in files if line in path.read_text()), None)


def _model_type(node: ast.ClassDef) -> object:
    for field in node.body:
        if isinstance(field, ast.Assign) and ast.unparse(field.targets[0]) == "model_type":
            return getattr(field.value, "value", None)
    return None
