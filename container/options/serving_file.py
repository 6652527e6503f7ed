"""The serving.properties that counts for this start -> its Settings."""

from collections.abc import Callable
from pathlib import Path

from container.options import properties
from container.options.findings import Findings
from container.options.settings import Setting, property_settings
from handler.errors import OptionError


def file_settings(
    home: Path, model_directory: Path, findings: Findings, *, is_secret: Callable[[str], bool]
) -> list[Setting]:
    """The settings of the file in `home`, where the model is, or else of the one in `model_directory`.

    Of a name that stands there twice the last counts, as Java has it, and a warning tells. What cannot be read or
    parsed becomes a fault.
    """
    places = dict.fromkeys(place / properties.FILE_NAME for place in (home.absolute(), model_directory.absolute()))
    texts = {path: text for path in places if (text := _text(path, findings)) is not None}
    for ignored in list(texts)[1:]:
        findings.warn(f"{ignored} is not read, because {next(iter(texts))} stands beside the model")
    try:
        settings = list(property_settings(properties.parse(next(iter(texts.values()), ""))))
    except OptionError as error:
        findings.faults.extend(str(error).splitlines())
        return []
    last: dict[str, Setting] = {}
    for setting in settings:
        earlier = last.get(setting.name)
        if earlier:
            described = setting.described(secret=is_secret(setting.name))
            findings.warn(f"{described} replaces {earlier.label} of line {earlier.line}; keep one of the two lines")
        last[setting.name] = setting
    return list(last.values())


def _text(path: Path, findings: Findings) -> str | None:
    """None where there is no such file."""
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError as error:
        findings.fault(f"{path} is not UTF-8 at byte {error.start + 1}; save it as UTF-8")
    except OSError as error:
        findings.fault(f"{path} cannot be read: {error.strerror}; make it a file that this process may read")
    return ""
