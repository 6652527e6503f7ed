"""The option `entry_point`, or the name model.py -> the Python file of the user's code."""

import os.path
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

FILE_NAME = "model.py"
VLLM_SERVICE = "djl_python.lmi_vllm.vllm_async_service"
CODE = "code"  # the directory for code when SageMaker repacks a model's artifacts


@dataclass(frozen=True, slots=True)
class EntryPoint:
    """`file` is executed once as the module `name`. `directory` is the model's, or the adapter's, which LMI calls model_dir.
    `service` is the module of LMI that is the entry point and runs the file beside it, where the option names one. Code that
    is alone imports nothing from there."""

    file: Path
    name: str
    directory: Path
    service: str | None = None
    is_alone: bool = False

    @property
    def search_path(self) -> tuple[Path, ...]:
        """The directories from which the code can import."""
        return () if self.is_alone else tuple(dict.fromkeys((self.file.parent, self.directory)))


def find(name: str | None, directories: Sequence[Path]) -> EntryPoint | None:
    """The entry point `name` (the option), or model.py if that is None or a module of LMI itself, in the first of
    `directories` that has it. None if there is no code.

    Raises ValueError with the rest of a sentence that begins with the option."""
    beside = next(_search(FILE_NAME, directories), None)
    if name is None:
        return beside
    if name.startswith("djl_python."):
        return None if beside is None else replace(beside, service=name)
    if name.startswith(("http://", "https://")):
        raise ValueError(
            "is a URL: code is not fetched from the network, since the server at that address could run any code in this "
            "process. Put the file into the model directory and use its name"
        )
    entry = next(_search(name, directories), None)
    if entry is None:
        places = ", ".join(str(directory) for directory in directories)
        raise ValueError(f"names neither a Python file nor a module in {places} (nor in {CODE}/ there)")
    return entry


def _search(name: str, directories: Sequence[Path]) -> Iterator[EntryPoint]:
    for directory in directories:
        for place in (directory, directory / CODE):
            for file, module in _candidates(name):
                # Path.is_file raises if the directory may not be read; the model store reports that with more context.
                if os.path.isfile(path := place / file):  # noqa: PTH113
                    yield EntryPoint(path.absolute(), module, directory.absolute())


def _candidates(name: str) -> Iterator[tuple[Path, str]]:
    """Files and module names that `name` may mean: a file, whose path may be absolute, or a dotted module."""
    if name.endswith(".py"):
        yield Path(name), Path(name).stem
    elif "/" not in name:
        yield Path(*name.split(".")).with_suffix(".py"), name
        yield Path(*name.split(".")) / "__init__.py", name
