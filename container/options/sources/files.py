"""The serving.properties of a start -> its Settings; LMI's config.properties -> the variables with the same meaning."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from container.options.findings import NOTHING, Findings, fault, warning
from container.options.sources import properties
from container.options.sources.settings import SERVER_PREFIX, Setting, property_settings
from handler.errors import OptionError

MAX_BYTES = 2**20  # LMI's own files have a few hundred


@dataclass(frozen=True, slots=True)
class ServingFile:
    """`directory` holds the file; None where it is on S3 or there is none."""

    settings: tuple[Setting, ...] = ()
    directory: Path | None = None
    remote: bool = False
    findings: Findings = NOTHING


def read_serving_file(
    directories: Sequence[Path],
    *,
    is_secret: Callable[[str], bool],
    remote: tuple[str, bytes | None] | None = None,
) -> ServingFile:
    """The first file that there is: at `remote` (its address, and its content if it exists), else in `directories`.

    If a name is there twice, the last counts, as in Java, and there is a warning. What cannot be read or parsed is a fault.
    """
    on_s3 = _decode(*remote) if remote is not None else None
    local = (_read(directory / properties.FILE_NAME) for directory in directories)
    texts = [text for text in (on_s3, *local) if text is not None]
    if not texts:
        return ServingFile()
    first, *others = texts
    ignored = (warning(f"{other.place} is not read, because {first.place} is beside the model") for other in others)
    settings, found = _settings(first.content, is_secret)
    findings = Findings.combine((*(text.findings for text in texts), *ignored, found))
    directory = first.place.parent if isinstance(first.place, Path) else None
    return ServingFile(settings, directory, remote=directory is None, findings=findings)


def read_server_file(path: Path) -> tuple[Mapping[str, str], Findings]:
    """The settings of LMI's config.properties at `path`, by the variables with the same meaning: SERVING_<KEY>."""
    text = _read(path)
    if text is None:
        return {}, NOTHING
    try:
        entries = properties.parse(text.content, path.name)
    except OptionError as error:
        return {}, text.findings + _faults(error)
    variables = {f"{SERVER_PREFIX}{entry.key.upper()}": entry.value for entry in entries}
    names = ", ".join(sorted(variables)) or "none"
    found = warning(f"{path} is read, each key as the variable SERVING_<KEY>: {names}")
    return variables, text.findings + found


@dataclass(frozen=True, slots=True)
class _Text:
    """The content of the file at `place`; empty where the findings have a fault."""

    place: str | Path
    content: str = ""
    findings: Findings = NOTHING


def _read(path: Path) -> _Text | None:
    """None where there is no such file."""
    try:
        with path.open("rb") as file:
            return _decode(path, file.read(MAX_BYTES + 1))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        found = fault(f"{path} cannot be read: {error.strerror}; make it a file that this process may read")
        return _Text(path, findings=found)


def _decode(place: str | Path, content: bytes | None) -> _Text | None:
    if content is None:
        return None
    if len(content) > MAX_BYTES:
        found = fault(f"{place} has more than {MAX_BYTES} bytes, so it is not a file of options; check what it is")
        return _Text(place, findings=found)
    try:
        return _Text(place, content.decode("utf-8"))
    except UnicodeDecodeError as error:
        found = fault(f"{place} is not UTF-8 at byte {error.start + 1}; save it as UTF-8")
        return _Text(place, findings=found)


def _settings(text: str, is_secret: Callable[[str], bool]) -> tuple[tuple[Setting, ...], Findings]:
    try:
        settings = list(property_settings(properties.parse(text)))
    except OptionError as error:
        return (), _faults(error)
    last: dict[str, Setting] = {}
    found = NOTHING
    for setting in settings:
        if setting.name in last:
            described, earlier = setting.describe(secret=is_secret(setting.name)), last[setting.name].origin
            found += warning(
                f"{described} replaces {earlier.label} of line {earlier.line}; remove one of the two lines"
            )
        last[setting.name] = setting
    return tuple(last.values()), found


def _faults(error: OptionError) -> Findings:
    return Findings(faults=tuple(str(error).splitlines()))
