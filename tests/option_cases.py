"""What tests of the options share: resolving an environment, with a few fields of the engine and no machine behind it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from container.options import Resolved, resolve
from handler.errors import OptionError

ENGINE_FIELDS = ("load_format", "enable_prefix_caching", "hf_overrides", "max_num_seqs", "_private")
NOWHERE = Path("/nowhere/model")


def resolved(environ: Mapping[str, str], directory: Path = NOWHERE) -> Resolved:
    return resolve(environ, engine_fields=lambda: ENGINE_FIELDS, model_directory=directory)


def option(name: str, **environ: str) -> Any:
    return getattr(resolved(environ).options, name)


def refusal(environ: Mapping[str, str], directory: Path = NOWHERE) -> str:
    with pytest.raises(OptionError) as caught:
        resolved(environ, directory)
    return str(caught.value)


def write_properties(directory: Path, text: str) -> Path:
    (directory / "serving.properties").write_text(text, encoding="utf-8")
    return directory


def model_at(directory: Path) -> Path:
    """The directory, made to hold a model."""
    directory.mkdir(parents=True)
    (directory / "config.json").write_text("{}")
    return directory
