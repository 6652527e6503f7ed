"""The serving.properties that counts for this start -> its Settings; LMI's config.properties -> its variables."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from container.options.findings import Findings
from container.options.sources import properties
from container.options.sources.settings import SERVER_PREFIX, Setting, property_settings
from handler.errors import OptionError

LONGEST = 2**20  # bytes; LMI's own are a few hundred


@dataclass(frozen=True, slots=True)
class ServingFile:
    """`directory` is where the file stands, or None where it is on S3 or there is none."""

    settings: tuple[Setting, ...] = ()
    directory: Path | None = None
    remote: bool = False


def serving_file(
    directories: Sequence[Path],
    findings: Findings,
    *,
    is_secret: Callable[[str], bool],
    remote: tuple[str, bytes | None] | None = None,
) -> ServingFile:
    """The first file that there is: at `remote` (its address, and its content if it exists), else in `directories`.

    Of a name that stands there twice the last counts, as Java has it, and a warning tells. What cannot be read or
    parsed becomes a fault.
    """
    texts: dict[str | Path, str] = {}
    if remote is not None and remote[1] is not None:
        texts[remote[0]] = _decoded(remote[0], remote[1], findings)
    for path in (directory / properties.FILE_NAME for directory in directories):
        content = _content(path, findings)
        if content is not None:
            texts[path] = _decoded(path, content, findings)
    if not texts:
        return ServingFile()
    first, *others = texts
    for ignored in others:
        findings.warn(f"{ignored} is not read, because {first} stands beside the model")
    settings = tuple(_settings(texts[first], findings, is_secret))
    return ServingFile(settings, first.parent if isinstance(first, Path) else None, remote=isinstance(first, str))


def server_variables(path: Path, findings: Findings) -> dict[str, str]:
    """What LMI's config.properties at `path` says, by the names of the variables that say the same: SERVING_<KEY>."""
    content = _content(path, findings)
    if content is None:
        return {}
    try:
        entries = properties.parse(_decoded(path, content, findings), path.name)
    except OptionError as error:
        findings.faults.extend(str(error).splitlines())
        return {}
    variables = {f"{SERVER_PREFIX}{entry.key.upper()}": entry.value for entry in entries}
    findings.warn(f"{path} is read, each key as the variable SERVING_<KEY>: {', '.join(sorted(variables)) or 'none'}")
    return variables


def _settings(text: str, findings: Findings, is_secret: Callable[[str], bool]) -> Iterable[Setting]:
    try:
        settings = list(property_settings(properties.parse(text)))
    except OptionError as error:
        findings.faults.extend(str(error).splitlines())
        return ()
    last: dict[str, Setting] = {}
    for setting in settings:
        earlier = last.get(setting.name)
        if earlier:
            described = setting.described(secret=is_secret(setting.name))
            findings.warn(f"{described} replaces {earlier.label} of line {earlier.line}; keep one of the two lines")
        last[setting.name] = setting
    return last.values()


def _content(path: Path, findings: Findings) -> bytes | None:
    """None where there is no such file."""
    try:
        with path.open("rb") as file:
            return file.read(LONGEST + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        findings.fault(f"{path} cannot be read: {error.strerror}; make it a file that this process may read")
    return b""


def _decoded(place: str | Path, content: bytes, findings: Findings) -> str:
    if len(content) > LONGEST:
        findings.fault(f"{place} has more than {LONGEST} bytes, so it is no file of options; see what it is")
        return ""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        findings.fault(f"{place} is not UTF-8 at byte {error.start + 1}; save it as UTF-8")
    return ""
