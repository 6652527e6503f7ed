"""What is named as the entry point, or a model.py that is there -> the Python file of the user's own code."""

import os.path
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

FILE_NAME = "model.py"
CODE = "code"  # where SageMaker puts the code when it repacks a model's artefacts


@dataclass(frozen=True, slots=True)
class EntryPoint:
    """`file` is executed once as the module `name`; `directory` is the model's own, which LMI calls model_dir."""

    file: Path
    name: str
    directory: Path

    @property
    def search_path(self) -> tuple[Path, ...]:
        """Where imports of the code are looked for."""
        return tuple(dict.fromkeys((self.file.parent, self.directory)))


def find(named: str | None, directories: Sequence[Path]) -> EntryPoint | None:
    """The entry point that `named` (the option) means in the first of `directories` that has it; model.py where none is
    named. None where there is no code, or LMI's own is named, which vLLM here stands for.

    Raises ValueError with the rest of a sentence that begins with the option."""
    if named is None:
        return next(_found(FILE_NAME, directories), None)
    if named.startswith("djl_python."):
        return None
    if named.startswith(("http://", "https://")):
        raise ValueError(
            "is an address: code is not fetched from the network, since whoever answers there would run in this process. "
            "Put the file into the model directory and name it"
        )
    entry = next(_found(named, directories), None)
    if entry is None:
        places = ", ".join(str(directory) for directory in directories)
        raise ValueError(f"names neither a Python file nor a module in {places} (nor in {CODE}/ there)")
    return entry


def _found(named: str, directories: Sequence[Path]) -> Iterator[EntryPoint]:
    for directory in directories:
        for place in (directory, directory / CODE):
            for file, name in _readings(named):
                # Path.is_file would raise for a directory that may not be searched; who needs the model says so better.
                if os.path.isfile(path := place / file):  # noqa: PTH113
                    yield EntryPoint(path.absolute(), name, directory.absolute())


def _readings(named: str) -> Iterator[tuple[Path, str]]:
    """As a file, which may be absolute, and as a module with dots."""
    if named.endswith(".py"):
        yield Path(named), Path(named).stem
    elif "/" not in named:
        yield Path(*named.split(".")).with_suffix(".py"), named
        yield Path(*named.split(".")) / "__init__.py", named
