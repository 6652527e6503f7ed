"""The files of a model, wherever they are: their sizes, and ranges of their bytes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from handler.errors import StartError

MAX_JSON_BYTES = 128 * 2**20  # the largest tokenizer.json in use has 33 MB


class ModelFiles(Protocol):
    """`name` is the model as the operator named it."""

    @property
    def name(self) -> str: ...

    def sizes(self) -> Mapping[str, int]:
        """The relative path of each file, and its size in bytes. Raises StartError."""
        ...

    def read(self, path: str, start: int, length: int) -> bytes:
        """Up to `length` bytes of the file from `start`. Raises StartError."""
        ...


class DirectoryFiles:
    """The files directly in a directory on this machine; vLLM reads no others of a model."""

    def __init__(self, directory: Path, name: str | None = None) -> None:
        self._directory = directory
        self._name = name or str(directory)

    @property
    def name(self) -> str:
        return self._name

    def sizes(self) -> Mapping[str, int]:
        return {path.name: path.stat().st_size for path in self._directory.iterdir() if path.is_file()}

    def read(self, path: str, start: int, length: int) -> bytes:
        try:
            with (self._directory / path).open("rb") as file:
                file.seek(start)
                return file.read(length)
        except OSError as fault:
            raise StartError(f"{self._directory / path} cannot be read ({fault.strerror}).") from fault


def read_json(files: ModelFiles, path: str) -> dict[str, Any]:
    """The JSON object in a file; {} if there is no such file. Raises StartError."""
    size = files.sizes().get(path)
    if size is None:
        return {}
    if size > MAX_JSON_BYTES:
        raise StartError(f"{path} of {files.name} has {size} bytes, which is too large for this file; upload it again.")
    try:
        content = json.loads(files.read(path, 0, size))
    except ValueError as fault:
        raise StartError(f"{path} of {files.name} is not JSON ({fault}); upload the file again.") from fault
    if not isinstance(content, dict):
        raise StartError(f"{path} of {files.name} is not a JSON object; upload the file again.")
    return content
