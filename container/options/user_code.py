"""The user's own code among the options: where its file is, and every setting as the code reads it."""

from collections.abc import Mapping
from pathlib import Path

from container.options.claims import Claims
from container.options.decisions import Decisions, parse_fault, value_of
from container.options.findings import NOTHING, Findings
from container.options.names import OptionNames
from container.options.sources.reading import Sources
from container.options.sources.settings import OPTION_PREFIX, PROPERTY_PREFIX
from handler.djl.entry_point import EntryPoint, find


def find_code(decisions: Decisions, sources: Sources, names: OptionNames) -> tuple[EntryPoint | None, Findings]:
    """The user's code in the first directory that has it."""
    name = value_of(decisions, "entry_point")
    try:
        return find(name, sources.path.directories), NOTHING
    except ValueError as error:
        # A model on S3 may bring a file that is not here yet; code is never fetched from another address.
        if sources.path.address and "://" not in name:
            return None, NOTHING
        return None, parse_fault(decisions["entry_point"].setting, error, names)


def reader_of_unknown(code: EntryPoint | None, decisions: Decisions, sources: Sources) -> Path | str | None:
    """Who reads options that Lumi does not know: the user's code, if there is or will be one."""
    if code is not None:
        return code.file
    return "the code of the model" if "entry_point" in decisions and sources.path.address else None


def code_properties(claims: Claims, decisions: Decisions, names: OptionNames) -> Mapping[str, str]:
    """What user code reads, by LMI's names: every setting as it was written, then the options that other channels set. Of
    one name the first counts. Secrets are left out."""
    texts: dict[str, str] = {}
    for setting in claims.named:
        spelling = setting.origin.label.removeprefix(PROPERTY_PREFIX).removeprefix(OPTION_PREFIX)
        for name in (setting.name, spelling):
            if not names.is_secret(setting.name):
                texts.setdefault(name, setting.text.strip())
    for option in names.table:
        if option.name in decisions and option.name not in texts and not names.is_secret(option.name):
            texts[option.name] = option.text(decisions[option.name].value)
    return texts
