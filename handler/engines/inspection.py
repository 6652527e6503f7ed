"""The files of a model -> what is known of it before anything is loaded. A start and the command `check` ask this alike."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handler.checkpoint.faults import check_placeholder, check_tensors
from handler.checkpoint.files import DirectoryFiles, ModelFiles, read_json
from handler.checkpoint.tensors import Tensor, read_tensors
from handler.checkpoint.weight_files import weights
from handler.engines.assignment import VLLM, Assignment, assign, is_text_only
from handler.errors import LumiError, StartError

log = logging.getLogger("lumi.engine")


@dataclass(frozen=True, slots=True)
class Inspected:
    """`tensors` is empty if the weights are not safetensors; `config` if the model comes in Mistral's own format."""

    config: Mapping[str, Any]
    assignment: Assignment
    tensors: tuple[Tensor, ...]


def inspect(files: ModelFiles, arguments: Mapping[str, Any]) -> Inspected:
    """Raises StartError if no engine can serve it, or if its files contradict each other.

    `arguments` are the engine arguments, typed or as text.
    """
    sizes = files.sizes()
    config = read_json(files, "config.json")
    if "config.json" not in sizes:
        return Inspected(config, Assignment(VLLM, "Mistral's own format", "chosen from params.json", ("image",)), ())
    assignment = assign(files.name, config, arguments)
    load_format = str(arguments.get("load_format", "auto"))
    tensors = read_tensors(files, sorted(weights(sizes, load_format, lambda path: _in_index(files, path))))
    if not is_text_only(arguments):
        check_tensors(files.name, config, tensors)
        if assignment.modalities:
            check_placeholder(files, config)
    return Inspected(config, assignment, tensors)


def inspect_local(model: str, arguments: Mapping[str, Any]) -> Inspected | None:
    """The same of a directory, or of an id on the hub whose files are in its cache; None if they have a form that is not
    known here, which is no reason to end a start."""
    try:
        return inspect(DirectoryFiles(_directory(model, arguments), model), arguments)
    except LumiError:
        raise
    except Exception:
        log.exception("the files of %s could not be inspected before the start; vLLM decides", model)
        return None


def _in_index(files: ModelFiles, path: str) -> set[str]:
    return set(read_json(files, path).get("weight_map", {}).values())


def _directory(model: str, arguments: Mapping[str, Any]) -> Path:
    if Path(model).is_dir():
        return Path(model)
    import huggingface_hub  # noqa: PLC0415  # heavy, and a directory does not need it

    try:
        return Path(
            huggingface_hub.snapshot_download(
                model,
                revision=arguments.get("revision"),
                cache_dir=arguments.get("download_dir"),
                allow_patterns=["config.json", "params.json"],  # not all of the repository is cached
                local_files_only=True,
            )
        )
    except OSError as fault:
        raise StartError(f"The model {model} is not in the hub's cache ({fault}).") from fault
