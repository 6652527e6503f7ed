"""`resolve`: environment and serving.properties -> frozen Options."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from container.options.frozen import FrozenMapping
from container.options.parsers.locations import MODEL_DIRECTORY, SERVER_FILE
from container.options.resolution import RemoteFile, Resolution, Sources, nothing_remote
from container.options.table import TABLE, Options

__all__ = ["TABLE", "Options", "Resolved", "resolve"]


@dataclass(frozen=True)
class Resolved:
    """`options`, who set each one (`OPTION_DTYPE`, `serving.properties line 3`, `default`), and what to warn of."""

    options: Options
    origins: Mapping[str, str]
    warnings: tuple[str, ...]


def resolve(
    environ: Mapping[str, str],
    *,
    engine_fields: Callable[[], Collection[str]],
    model_directory: Path = MODEL_DIRECTORY,
    server_file: Path = SERVER_FILE,
    remote_file: RemoteFile = nothing_remote,
) -> Resolved:
    """The options that `environ` and the model's serving.properties ask for. Raises OptionError with every fault found.

    `engine_fields` gives the names of vLLM's engine arguments; it is called only for a name that no table here knows.
    `server_file` is LMI's config.properties, whose keys are those of SERVING_*. `remote_file` gives the content of a
    file beside a model on S3, by the model's address and the file's name; it is called only where the environment names
    such a model, and what it raises ends the start.
    """
    sources = Sources(environ, model_directory, server_file, remote_file)
    resolution = Resolution(TABLE, sources, engine_fields)
    resolution.run()
    warnings = tuple(resolution.findings.warnings)
    return Resolved(Options(**resolution.values), FrozenMapping(resolution.origins), warnings)
