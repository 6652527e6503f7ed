"""Where a start looks for the model and its serving.properties, before any option is known."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from container.model_store.directory import model_in
from container.options.parsers.locations import local_model
from container.options.sources.properties import FILE_NAME
from handler.errors import StartError

STORE_VARIABLE = "SERVING_MODEL_STORE"


@dataclass(frozen=True, slots=True)
class SearchPath:
    """`named` is the local directory that the environment names as the model, `address` the s3:// prefix if it is one.
    `store` is the model directory, which comes after it; it is the `only` one if the environment names no model."""

    store: Path
    named: Path | None = None
    address: str | None = None
    only: bool = False

    @property
    def directories(self) -> tuple[Path, ...]:
        """Where serving.properties may be, best first.

        A model may be the only one in its directory. One in the store is another model than the one that is named,
        and its file does not count.
        """
        named = (self.named, self.named and inner_model(self.named))
        inner = inner_model(self.store) if self.only else None
        return tuple(dict.fromkeys(found for found in (*named, self.store, inner) if found is not None))

    def holds(self, directory: Path | None) -> bool:
        """Whether the files in `directory` belong to the model that the environment names."""
        return self.named is not None and directory in (self.named, inner_model(self.named))


def search_path(environ: Mapping[str, str], named: str | None, default: Path) -> SearchPath:
    """`named` is the model that the environment names, `default` the model directory if the environment has none."""
    store = Path(environ.get(STORE_VARIABLE, "").strip() or default).absolute()
    if named is None:
        return SearchPath(store, only=True)
    if named.startswith("s3://"):
        return SearchPath(store, address=named)
    return SearchPath(store, named=local_model(named, (store,)))


def inner_model(directory: Path) -> Path | None:
    """The directory that holds the model: `directory`, the only one in it that does, or None."""
    try:
        return model_in(directory)
    except StartError:
        return None


def why_no_model(directory: Path) -> str | None:
    """Why `directory` holds no model; None where it holds one, or nothing but serving.properties."""
    try:
        if all(entry.name == FILE_NAME for entry in directory.iterdir()):
            return None
        model_in(directory)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return f"The directory {directory} cannot be read ({error.strerror}); correct its permissions."
    except StartError as error:
        return str(error)
    return None
