"""How an option is declared: the metadata that stands beside its type and default in Options."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from container.options.frozen import thawed
from container.options.parsers.modality_limits import ModalityLimits
from container.options.parsers.values import Parser


@dataclass(frozen=True)
class Declared:
    """What Options says of an option beside its name, type and default.

    `meaning` is one or two sentences for the reference page. `engine` is vLLM's engine argument, which is a further
    name of the option too, and `flag` the argument of `vllm serve` where the engine has none. `overriding` are
    environment variables that beat serving.properties and `environment` those that give way to OPTION_<NAME>, each
    best first; `parse_as` is for variables and aliases whose value has another unit or sense; a
    parser that returns None says that the setting says nothing. `unset` words a default that is None.
    """

    group: str
    parse: Parser
    meaning: str
    engine: str | None = None
    flag: str | None = None
    aliases: tuple[str, ...] = ()
    overriding: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    parse_as: Mapping[str, Parser] = field(default_factory=dict)
    unset: str = "none"
    secret: bool = False


@dataclass(frozen=True)
class Option:
    """One option, complete: what is declared plus its name and default."""

    name: str
    default: object
    declared: Declared

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every name that OPTION_<NAME> and serving.properties know it by, its own first."""
        engine = (self.declared.engine,) if self.declared.engine else ()
        return tuple(dict.fromkeys((self.name, *self.declared.aliases, *engine)))

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """Every environment variable that sets it, best first."""
        named = tuple(f"OPTION_{name.upper()}" for name in self.names)
        return (*self.declared.overriding, *named, *self.declared.environment)

    def parser(self, label: str, name: str) -> Parser:
        """What reads the text of the setting that is written as `label`, and has the `name` among this option's."""
        special = self.declared.parse_as
        return special.get(label) or special.get(name) or self.declared.parse

    def text(self, value: object) -> str:
        """`value` as a person would write it in serving.properties; the inverse of `declared.parse`."""
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, float):
            return f"{value:g}"
        if isinstance(value, tuple):
            return ",".join(str(item) for item in value)
        if isinstance(value, Mapping) and value:
            return json.dumps(value.for_vllm() if isinstance(value, ModalityLimits) else thawed(value))
        return "" if value is None or value == {} else str(value)


def declared_options(model: type[BaseModel]) -> tuple[Option, ...]:
    """The options that `model` declares, in their order. Fields without a Declared are no options."""
    return tuple(
        Option(name, info.get_default(call_default_factory=True), declared)
        for name, info in model.model_fields.items()
        if (declared := _declared(info)) is not None
    )


def _declared(info: FieldInfo) -> Declared | None:
    return next((item for item in info.metadata if isinstance(item, Declared)), None)
