"""What `model_id` and `chat_template` name -> where that is: an address as it stands, or a path that exists."""

import os.path
import re
from pathlib import Path

from container.options.values import is_template_text

MODEL_DIRECTORY = Path("/opt/ml/model")  # where SageMaker and LMI's users mount it

_MODEL_FILES = ("config.json", "params.json")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_S3 = re.compile(r"s3://[^/\s]+(/\S*)?")
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
_PATH = re.compile(r"[/~]|\.\.?(/|$)")


def holds_model(directory: Path) -> bool:
    return any(_is_file(directory / name) for name in _MODEL_FILES)


def local_model(text: str, home: Path) -> Path | None:
    """The existing directory that `text` names, alone or relative to `home`, or None."""
    path = _expanded(text.strip().removeprefix("file://"))
    return next((found.absolute() for found in (home / path, path) if _is_directory(found)), None)


def located_model(text: str, home: Path) -> str:
    """A local directory as an absolute path, an s3:// address or a hub id as it stands. Raises ValueError."""
    local = local_model(text, home)
    if local is not None:
        return str(local)
    if _S3.fullmatch(text):
        return text
    plain = text.removeprefix("file://")
    if _SCHEME.match(plain):
        raise ValueError("is an address that no model can be loaded from; give a Hugging Face id, s3:// or a directory")
    if _PATH.match(plain):
        state = "is a file and no directory" if _is_file(home / _expanded(plain)) else "does not exist"
        raise ValueError(f"names a local directory that {state}{_within(plain, home)}; mount it, or correct the path")
    if not _HUB_ID.fullmatch(plain):
        raise ValueError(
            f"is neither a Hugging Face id (organisation/name), nor s3://bucket/prefix, nor a local directory: there "
            f"is none{_within(plain, home)}"
        )
    return text


def located_template(text: str, home: Path) -> str:
    """The text or web address of a template as it stands, its path as an absolute one. Raises ValueError."""
    if is_template_text(text) or text.startswith(("http://", "https://")):
        return text
    path = _expanded(text)
    found = next((place.absolute() for place in (home / path, path) if _is_file(place)), None)
    if found is None:
        raise ValueError(
            f"looks like a path, and there is no such file{_within(text, home)}; correct it, or give the text"
        )
    return str(found)


def _within(path: str, home: Path) -> str:
    return "" if path.startswith(("/", "~")) else f" in {home} or {Path.cwd()}"


# Path's own methods raise for a text that is too long for a name, and for a directory that may not be searched.


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113


def _is_directory(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112


def _expanded(text: str) -> Path:
    return Path(os.path.expanduser(text))  # noqa: PTH111
