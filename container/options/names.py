"""Names of settings -> the option that each means, or the nearest known name."""

import difflib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property

from container.masking import is_secret_name
from container.options import lmi
from container.options.declaration import Option
from container.options.sources.settings import SERVER_PREFIX, Setting

# difflib's ratio. Above the first a name is a near miss: one letter wrong in a short name, more in a long one. Between the
# two it may be another word for what is meant, or an option of another server.
_NEAR_MISS = 0.8
_SIMILARITY = 0.7


@dataclass(frozen=True, slots=True)
class Unknown:
    """A setting that has no known name: the `sentence` about it with the cure, and whether it is `misspelt`."""

    sentence: str
    misspelt: bool


class OptionNames:
    """`engine_fields` is called once, and only for a name that neither Lumi nor LMI has."""

    def __init__(self, table: Collection[Option], engine_fields: Callable[[], Collection[str]]) -> None:
        self.table = table
        self._options = {name: option for option in table for name in option.names}
        self._variables = {variable: option for option in table for variable in option.variables}
        self._engine_fields = engine_fields

    def option(self, name: str) -> Option | None:
        return self._options.get(name)

    def option_of_variable(self, label: str) -> Option | None:
        return self._variables.get(label)

    def is_variable(self, label: str) -> bool:
        """Whether the options or LMI's tables know the environment variable by its whole name."""
        return label in self._variables or label in lmi.variables() or label in lmi.passed_through()

    def is_engine_argument(self, name: str) -> bool:
        return name in self._engine_arguments

    def is_secret(self, name: str) -> bool:
        option = self._options.get(name)
        return option.declared.secret if option else is_secret_name(name)

    def describe(self, setting: Setting) -> str:
        return setting.describe(secret=self.is_secret(setting.name))

    def unknown_option(self, setting: Setting) -> Unknown:
        """What a setting is that has none of the names."""
        name = setting.name.replace("-", "_").replace(".", "_")
        useful = {*self._options, *self._engine_arguments}
        known = {*useful, *lmi.option_names()}
        last = setting.name.replace("-", "_").rpartition(".")[2]
        same = [candidate for candidate in (name, last) if candidate in known]
        misspelt = same[:1] or _nearest(name, useful, _NEAR_MISS)
        near = misspelt or _nearest(name, useful, _SIMILARITY)
        # The value of a misspelt hf_token is as secret as that of hf_token.
        described = setting.describe(secret=any(map(self.is_secret, (setting.name, *near))))
        effect = "" if misspelt else " and has no effect"
        if misspelt and "-" in setting.name:
            cure = f"names have underscores, not dashes; write {setting.spelling(near[0])}"
        elif near:
            cure = f"did you mean {setting.spelling(near[0])}?"
        else:
            cure = "remove it, or see docs/options.md for every option"
        return Unknown(f"{described} is not an option{effect}; {cure}", bool(misspelt))

    def unknown_server_key(self, setting: Setting) -> str:
        """The warning about a SERVING_ variable that no table knows, with its cure."""
        labels = {name: f"OPTION_{name.upper()}" for name in self._options}
        labels |= {key: f"{SERVER_PREFIX}{key.upper()}" for key in lmi.server_keys()}
        served = (label for label in self._variables if label.startswith(SERVER_PREFIX))
        labels |= {label.removeprefix(SERVER_PREFIX).lower(): label for label in served}
        near = _nearest(setting.name, labels, _SIMILARITY)
        cure = f"did you mean {labels[near[0]]}?" if near else "remove it"
        return f"{self.describe(setting)} is unknown and has no effect; {cure}"

    @cached_property
    def _engine_arguments(self) -> frozenset[str]:
        return frozenset(name for name in self._engine_fields() if not name.startswith("_"))


def _nearest(name: str, known: Collection[str], cutoff: float) -> list[str]:
    """The known name that is most like `name`, if one is."""
    return difflib.get_close_matches(name, sorted(known), n=1, cutoff=cutoff)
