"""The user's own code among the options: where its file is, and every setting as the code reads it."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from container.options.declaration import Option
from container.options.option_names import OptionNames
from container.options.sources.settings import OPTION_PREFIX, PROPERTY_PREFIX, Setting
from handler.djl.entry_point import EntryPoint, find


def code_of(entry_point: str | None, directories: Sequence[Path], *, comes_later: bool) -> EntryPoint | None:
    """The user's code in the first of `directories` that has it. Raises ValueError.

    `comes_later` is whether the model is on S3, and may bring a file that is not here yet; an address never comes.
    """
    try:
        return find(entry_point, directories)
    except ValueError:
        if comes_later and entry_point is not None and "://" not in entry_point:
            return None
        raise


def written(
    settings: Iterable[Setting], options: Mapping[str, Option], values: Mapping[str, Any], names: OptionNames
) -> dict[str, str]:
    """What user code is handed, by LMI's names: every setting as it was written, and what other channels set. Of one
    name the first counts. No secret is among it."""
    texts: dict[str, str] = {}
    for setting in settings:
        spelt = setting.label.removeprefix(PROPERTY_PREFIX).removeprefix(OPTION_PREFIX)
        for name in (setting.name, spelt):
            if not names.is_secret(setting.name):
                texts.setdefault(name, setting.text.strip())
    for name, option in options.items():
        if name in values and not names.is_secret(name):
            texts.setdefault(name, option.written(values[name]))
    return texts
