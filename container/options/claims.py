"""Settings of every channel, held against the tables -> the options that they are for, and what is said of the rest."""

from collections import defaultdict
from collections.abc import Collection, Mapping

from container.options import lmi
from container.options.declaration import Option
from container.options.findings import Findings
from container.options.option_names import OptionNames
from container.options.properties import FILE_NAME
from container.options.settings import (
    PROPERTY_PREFIX,
    Setting,
    known_settings,
    option_settings,
    server_settings,
    variable_settings,
)


class Claims:
    """Whose each setting is: `of_options` by the option's name, `of_engine` by that of vLLM's argument."""

    def __init__(
        self, table: Collection[Option], names: OptionNames, environ: Mapping[str, str], findings: Findings
    ) -> None:
        self.of_options: dict[str, list[Setting]] = defaultdict(list)
        self.of_engine: dict[str, list[Setting]] = defaultdict(list)
        self._table = table
        self._names = names
        self._environ = environ
        self._findings = findings

    def sort(self, filed: Collection[Setting]) -> None:
        """Those of the file, and of the environment."""
        self._sort_by_name(filed)
        self._sort_by_variable()

    def _sort_by_name(self, filed: Collection[Setting]) -> None:
        accepted, server_keys = lmi.option_names(), lmi.server_keys()
        for label in sorted(label for label in self._environ if label.startswith(PROPERTY_PREFIX)):
            name = label.removeprefix(PROPERTY_PREFIX).upper()
            self._findings.fault(f"{label} is a name for {FILE_NAME}; in the environment, write OPTION_{name}")
        for setting in (*filed, *option_settings(self._environ)):
            option = self._names.option(setting.name)
            if option:
                self.of_options[option.name].append(setting)
            elif setting.name in accepted:
                self._accept(setting, accepted[setting.name])
            elif setting.line and setting.name in server_keys:
                self._accept(setting, server_keys[setting.name])
            elif self._names.is_engine_field(setting.name):
                self.of_engine[setting.name].append(setting)
            else:
                self._findings.fault(self._names.unknown(setting))

    def _sort_by_variable(self) -> None:
        for option in self._table:
            self.of_options[option.name] += variable_settings(self._environ, option)
        variables = lmi.variables()
        for variable, setting in known_settings(self._environ, variables):
            self._accept(setting, variables[variable])
        accepted = {**lmi.option_names(), **lmi.server_keys()}
        for setting in server_settings(self._environ):
            if self._names.is_variable(setting.label):
                continue
            if setting.name in accepted:
                self._accept(setting, accepted[setting.name])
            else:
                self._findings.warn(self._names.unknown_server_key(setting))

    def _accept(self, setting: Setting, accepted: lmi.Accepted) -> None:
        if accepted.is_refused(setting.text):
            self._findings.fault(f"{self._names.described(setting)} is refused: {accepted.instead}")
        elif not accepted.is_moot(setting.text):
            self._findings.warn(f"{self._names.described(setting)} has no effect: {accepted.instead}")
