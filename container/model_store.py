"""HF id | local directory -> what the engine is told to load, and the names it is served under."""

import re
from dataclasses import dataclass
from pathlib import Path

from handler.errors import StartError

# What makes a directory a model: Hugging Face's configuration or Mistral's.
CONFIGURATIONS = ("config.json", "params.json")
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True, slots=True)
class Model:
    """`source` is a local directory or an id on the Hugging Face hub, which the engine downloads itself."""

    source: str
    names: tuple[str, ...]


def locate(model_id: str | None) -> Model:
    """Find out what `model_id` is. Raises StartError with what was looked for."""
    if model_id is None:
        raise StartError(
            "No model is named. Set HF_MODEL_ID (or OPTION_MODEL_ID) to a Hugging Face id or a directory, "
            "or mount a model that has a config.json at /opt/ml/model."
        )
    if model_id.startswith("s3://"):
        raise StartError(
            f"The model {model_id} is on S3, which is not read yet; download it and name the directory, "
            "or let SageMaker do so with model_data."
        )
    directory = Path(model_id)
    if directory.is_dir():
        return _local(directory)
    if _HUB_ID.fullmatch(model_id) is None:
        raise StartError(f"The model {model_id!r} is neither a directory that exists nor a Hugging Face id.")
    return Model(model_id, (model_id,))


def _local(directory: Path) -> Model:
    if not any((directory / name).is_file() for name in CONFIGURATIONS):
        there = ", ".join(sorted(path.name for path in directory.iterdir())[:8]) or "nothing"
        raise StartError(
            f"The directory {directory} holds no model: {' or '.join(CONFIGURATIONS)} was looked for; there is {there}."
        )
    # vLLM's own server goes by the path, so its clients send that; people prefer the directory's name.
    return Model(str(directory), tuple(dict.fromkeys((directory.resolve().name, str(directory)))))
