"""The text of `model_id` and `chat_template` -> an address as it is, or a path that exists."""

import os.path
import re
from collections.abc import Sequence
from pathlib import Path

from container.model_store.address import is_hub_id, is_s3_address
from container.options.parsers.values import is_template_text

MODEL_DIRECTORY = Path("/opt/ml/model")  # where SageMaker and users of LMI mount it
SERVER_FILE = Path("/opt/djl/conf/config.properties")  # in LMI's image; here only if it is mounted

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_NEARLY_AN_ID = re.compile(
    r"(?:https?://(?:www\.)?huggingface\.co/|hf://)?([\w.-]+/[\w.-]+)(?:/(?:tree/\S*)?)?", re.ASCII
)
_PATH = re.compile(r"[/~]|\.\.?(/|$)")


def local_model(text: str, homes: Sequence[Path]) -> Path | None:
    """The existing directory that `text` names, relative to one of `homes` or alone, or None."""
    path = _expand_user(text.strip().removeprefix("file://"))
    return next((found.absolute() for found in _places(path, homes) if _is_directory(found)), None)


def locate_model(text: str, homes: Sequence[Path]) -> str:
    """A local directory as an absolute path; an s3:// address or a hub id as it is. Raises ValueError."""
    local = local_model(text, homes)
    if local is not None:
        return str(local)
    if is_s3_address(text):
        return text
    plain = text.removeprefix("file://")
    if _SCHEME.match(plain):
        raise ValueError(
            "is an address from which no model can be loaded; give a Hugging Face id, an s3:// address or a directory"
            + _near(plain)
        )
    if _PATH.match(plain):
        is_file = any(map(_is_file, _places(_expand_user(plain), homes)))
        what = "file, not a directory" if is_file else "local directory that does not exist"
        raise ValueError(f"names a {what}{_within(plain, homes)}; mount it, or correct the path")
    if not is_hub_id(plain):
        raise ValueError(
            f"is not a Hugging Face id (organisation/name), s3://bucket/prefix or a local directory: there is none"
            f"{_within(plain, homes)}{_near(plain)}"
        )
    return text


def locate_template(text: str, homes: Sequence[Path]) -> str:
    """The text or web address of a template as it is, or its path as an absolute one. Raises ValueError."""
    if is_template_text(text) or text.startswith(("http://", "https://")):
        return text
    places = _places(_expand_user(text), homes)
    found = next((place.absolute() for place in places if _is_file(place)), None)
    if found is None:
        why = "is a directory" if any(map(_is_directory, places)) else "looks like a path, but there is no such file"
        raise ValueError(f"{why}{_within(text, homes)}; correct it, or give the text")
    return str(found)


def _places(path: Path, homes: Sequence[Path]) -> tuple[Path, ...]:
    return (*(home / path for home in homes), path)


def _near(text: str) -> str:
    """The cure for what is nearly an id: a page of the Hub, or an id with a slash at its end."""
    if text.lower().startswith("s3:"):
        return "; write s3://bucket/prefix"
    match = _NEARLY_AN_ID.fullmatch(text)
    return f"; did you mean {match[1]!r}?" if match else ""


def _within(path: str, homes: Sequence[Path]) -> str:
    return "" if path.startswith(("/", "~")) else f" in {' or '.join(map(str, (*homes, Path.cwd())))}"


# Path's own methods raise for a text that is too long for a name, and for a directory that may not be searched.


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113


def _is_directory(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112


def _expand_user(text: str) -> Path:
    return Path(os.path.expanduser(text))  # noqa: PTH111
