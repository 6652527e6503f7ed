"""How an option is declared: the metadata beside its type and default in Options."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from container.options.frozen import thaw
from container.options.parsers.modality_limits import ModalityLimits
from container.options.parsers.values import Parser


@dataclass(frozen=True)
class Declared:
    """The metadata of an option.

    `meaning` is one or two sentences for the reference page. `engine` is vLLM's engine argument, which is also another
    name of the option, and `flag` the argument of `vllm serve` if the engine has none. `overriding` are environment
    variables that win over serving.properties, and `environment` those that lose to OPTION_<NAME>, each best first.
    `parse_as` has the parsers of variables and aliases whose value has another unit or sense. `unset` describes a
    default that is None.
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
    """One option with its name, default and metadata."""

    name: str
    default: object
    declared: Declared

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Its names in OPTION_<NAME> and serving.properties, its own first."""
        engine = (self.declared.engine,) if self.declared.engine else ()
        return tuple(dict.fromkeys((self.name, *self.declared.aliases, *engine)))

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """Every environment variable that sets it, best first."""
        named = tuple(f"OPTION_{name.upper()}" for name in self.names)
        return (*self.declared.overriding, *named, *self.declared.environment)

    def parser(self, label: str, name: str) -> Parser:
        """The parser for a setting with this `label` in its channel and this `name` among the option's names."""
        special = self.declared.parse_as
        return special.get(label) or special.get(name) or self.declared.parse

    def text(self, value: object) -> str:
        """`value` as a user would write it in serving.properties; the inverse of `declared.parse`."""
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, float):
            return f"{value:g}"
        if isinstance(value, tuple):
            return ",".join(str(item) for item in value)
        if isinstance(value, Mapping) and value:
            return json.dumps(value.for_vllm() if isinstance(value, ModalityLimits) else thaw(value))
        return "" if value is None or value == {} else str(value)


def declared_options(model: type[BaseModel]) -> tuple[Option, ...]:
    """The options that `model` declares, in their order. Fields without a Declared are not options."""
    return tuple(
        Option(name, info.get_default(call_default_factory=True), declared)
        for name, info in model.model_fields.items()
        if (declared := _find_declared(info)) is not None
    )


def _find_declared(info: FieldInfo) -> Declared | None:
    return next((item for item in info.metadata if isinstance(item, Declared)), None)
