"""The environment, serving.properties and S3 -> Sources: everything that one start reads its options from."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from container.options.findings import Findings
from container.options.names import OptionNames
from container.options.sources.files import ServingFile, read_server_file, read_serving_file
from container.options.sources.properties import FILE_NAME
from container.options.sources.search_path import SearchPath, search_path
from container.options.sources.settings import Setting, option_settings, variable_settings
from container.options.sources.vllm_container import vllm_settings

RemoteFile = Callable[[str, str], bytes | None]


@dataclass(frozen=True, slots=True)
class Sources:
    """`environ` includes what LMI's server file adds. `named` is the setting of the environment that names the model, or
    None; `remote_file` reads a file beside a model on S3."""

    environ: Mapping[str, str]
    file: ServingFile
    path: SearchPath
    named: Setting | None
    remote_file: RemoteFile
    findings: Findings

    @property
    def file_is_of_named_model(self) -> bool:
        return self.file.remote or self.path.holds(self.file.directory)


def read_sources(
    environ: Mapping[str, str],
    names: OptionNames,
    model_directory: Path,
    server_file: Path,
    remote_file: RemoteFile,
) -> Sources:
    """Read the files of a start; see `resolve` for the arguments."""
    variables, found = read_server_file(server_file)
    environ = {**variables, **environ}
    named = _named_model(environ, names)
    path = search_path(environ, named[1] if named else None, model_directory)
    remote = None
    if path.address:
        remote = (f"{path.address.rstrip('/')}/{FILE_NAME}", remote_file(path.address, FILE_NAME))
    file = read_serving_file(path.directories, is_secret=names.is_secret, remote=remote)
    return Sources(environ, file, path, named[0] if named else None, remote_file, found + file.findings)


def _named_model(environ: Mapping[str, str], names: OptionNames) -> tuple[Setting, str] | None:
    """The setting of the environment that names the model, and its value."""
    option = names.option("model_id")
    if option is None:
        return None
    spelt = (*option_settings(environ), *vllm_settings(environ, names))
    by_name = (setting for setting in spelt if names.option(setting.name) is option)
    settings = (*variable_settings(environ, option), *by_name)
    for setting in sorted(settings, key=lambda setting: setting.origin.channel):
        with suppress(ValueError):  # a value that cannot be parsed becomes a fault later
            value = option.parser(setting.origin.label, setting.name)(setting.text)
            if value is not None:
                return setting, value
    return None
