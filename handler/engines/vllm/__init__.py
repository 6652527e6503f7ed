"""vLLM as an engine. Only this package imports vllm. The functions here inspect vLLM without that import, which takes
seconds."""

import ast
import importlib
import importlib.metadata
import importlib.util
from collections.abc import Mapping
from pathlib import Path

from handler.errors import StartError


def cuda() -> int | None:
    """The major version of CUDA that the installed vLLM is built for (0 if unknown), None for the CPU build."""
    try:
        importlib.metadata.version("vllm")  # the CPU build has a name of its own
        return int(importlib.metadata.version("nvidia-cuda-runtime").split(".")[0])
    except importlib.metadata.PackageNotFoundError as missing:
        return None if missing.name == "vllm" else 0


def field_names() -> frozenset[str]:
    """The names of vLLM's engine arguments, read from its source: a typo is found without the import."""
    spec = importlib.util.find_spec("vllm")
    if spec is None or spec.origin is None:
        raise StartError("vLLM is not installed; ./build.sh installs it into .venv.")
    tree = ast.parse((Path(spec.origin).parent / "engine" / "arg_utils.py").read_text())
    return frozenset(
        field.target.id
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name in ("EngineArgs", "AsyncEngineArgs")
        for field in node.body
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and field.target.id[0] != "_"
    )


def validate(texts: Mapping[str, str], described: Mapping[str, str]) -> None:
    """Check the text of engine arguments with vLLM's own parser. Imports vllm; raises OptionError."""
    importlib.import_module("handler.engines.vllm.arguments").parse_texts(texts, described)
