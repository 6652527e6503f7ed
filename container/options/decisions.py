"""Claims -> Decisions: the value of each option that is set, and the setting that gave it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from container.masking import mask
from container.options.claims import Claims
from container.options.declaration import Option
from container.options.findings import NOTHING, Findings, fault, warning
from container.options.names import OptionNames
from container.options.sources.settings import Setting


@dataclass(frozen=True, slots=True)
class Decision:
    """A value in force and the setting that it is from."""

    value: Any  # each option has a type of its own; Options checks it
    setting: Setting


Decisions = Mapping[str, Decision]  # by the name of the option or of vLLM's argument


def decide(claims: Claims, names: OptionNames) -> tuple[Decisions, Findings]:
    """The options that are set. A value that cannot be parsed is a fault, and one that loses to another a warning."""
    parts = [(option.name, *_decide(claims.of(option), option, names)) for option in names.table]
    decisions = {name: decision for name, decision, _ in parts if decision is not None}
    return decisions, Findings.combine(found for _, _, found in parts)


def decide_engine_arguments(claims: Claims, names: OptionNames) -> tuple[Decisions, Findings]:
    """The arguments of vLLM that Lumi has no option for, as text."""
    arguments = {
        name: [Decision(setting.text.strip(), setting) for setting in settings]
        for name, settings in claims.of_engine().items()
    }
    found = Findings.combine(_conflicts(decisions, names) for decisions in arguments.values())
    return {name: decisions[0] for name, decisions in arguments.items()}, found


def value_of(decisions: Decisions, name: str) -> Any:
    """The value of an option; None where it is not set."""
    return decisions[name].value if name in decisions else None


def parse_fault(setting: Setting, error: ValueError, names: OptionNames) -> Findings:
    """The fault of a setting whose text cannot be parsed, with the parser's reason."""
    reason = mask(str(error))
    if "quotation" not in reason:
        reason += _cure_of_text(setting)
    return fault(f"{names.describe(setting)} {reason}")


def conflict(winner: Setting, loser: Setting, names: OptionNames) -> Findings:
    """The warning about two settings of one option."""
    used, unused = names.describe(winner), names.describe(loser)
    return warning(f"{used} is used and {unused} is not; remove one of them")


def _decide(claims: list[Setting], option: Option, names: OptionNames) -> tuple[Decision | None, Findings]:
    decisions, faults = [], NOTHING
    for setting in claims:
        try:
            value = option.parser(setting.origin.label, setting.name)(setting.text)
        except ValueError as error:
            faults += parse_fault(setting, error, names)
        else:
            if value is not None:
                decisions.append(Decision(value, setting))
    return (decisions[0] if decisions else None), faults + _conflicts(decisions, names)


def _conflicts(decisions: list[Decision], names: OptionNames) -> Findings:
    return Findings.combine(
        conflict(decisions[0].setting, loser.setting, names)
        for loser in decisions[1:]
        if loser.value != decisions[0].value
    )


def _cure_of_text(setting: Setting) -> str:
    """The cure of a common mistake: docker's --env-file and serving.properties take quotation marks and comments literally."""
    text = setting.text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return "; the quotation marks around it are part of the value: leave them out"
    if setting.origin.line and " #" in text:
        return "; a '#' after a value is part of it: put comments on lines of their own"
    return ""
