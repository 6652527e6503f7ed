"""A directory -> the directory that holds the model: itself, or the only one in it that does."""

import logging
from collections.abc import Iterable
from pathlib import Path

from handler.errors import StartError

log = logging.getLogger("lumi.model")

# What makes a directory a model: Hugging Face's configuration or Mistral's.
CONFIGURATIONS = ("config.json", "params.json")
# SageMaker puts the user's own Python beside the model.
CODE = "code"
_MAX_NAMES = 8


def model_in(directory: Path, configurations: tuple[str, ...] = CONFIGURATIONS) -> Path:
    """`directory`, or its only sub-directory with a model; one of `configurations` makes it one. Raises StartError."""
    try:
        names = [path.relative_to(directory).as_posix() for path in (*directory.glob("*"), *directory.glob("*/*"))]
    except OSError as error:
        raise StartError(
            f"The directory {directory} cannot be read ({error.strerror}); correct its permissions."
        ) from error
    files = [name for name in names if not (directory / name).is_dir() or "/" not in name]
    inside = model_among(files, f"The directory {directory}", configurations)
    if inside:
        log.info("the model is in %s", directory / inside)
    return directory / inside


def model_among(names: list[str], where: str, configurations: tuple[str, ...] = CONFIGURATIONS) -> str:
    """The directory of the model among `names`, relative paths: "" or the single sub-directory that holds one.

    Raises StartError, beginning with `where`.
    """
    if any(name in configurations for name in names):
        return ""
    parents = {name.split("/")[0] for name in names if name.count("/") == 1 and name.split("/")[1] in configurations}
    parents = {parent for parent in parents if _may_be_model(parent)}
    if len(parents) == 1:
        return parents.pop()
    needed = " or ".join(configurations)
    if parents:
        raise StartError(f"{where} contains several models: {', '.join(sorted(parents))}; name one of them.")
    top = sorted({name.split("/")[0] + ("/" if "/" in name else "") for name in names})
    top = [name for name in top if f"{name}/" not in top]
    there = ", ".join(top[:_MAX_NAMES]) + (f" and {len(top) - _MAX_NAMES} more" if len(top) > _MAX_NAMES else "")
    user_code = f" {CODE}/ is the user's Python, not a model." if f"{CODE}/" in top or CODE in top else ""
    raise StartError(f"{where} contains no model: it needs {needed}, but there is {there or 'nothing'}.{user_code}")


def only_directory(names: Iterable[str]) -> str | None:
    """The one directory among `names` that may be the model, with its slash, unless they make a model themselves."""
    top = list(names)
    inside = [name for name in top if name.endswith("/") and _may_be_model(name)]
    return inside[0] if len(inside) == 1 and not set(CONFIGURATIONS).intersection(top) else None


def _may_be_model(name: str) -> bool:
    return name.rstrip("/") != CODE and not name.startswith((".", "_"))
