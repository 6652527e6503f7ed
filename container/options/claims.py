"""Settings of every channel, held against the tables -> the options that they are for, and what is said of the rest."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from container.options import lmi
from container.options.declaration import Option
from container.options.findings import Findings
from container.options.option_names import OptionNames
from container.options.sources.properties import FILE_NAME
from container.options.sources.settings import (
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
        self.all: list[Setting] = []  # that have a name, the file's first, as it wins
        self._unknown: list[Setting] = []
        self._refused: list[tuple[Setting, lmi.Ignored]] = []
        self._table = table
        self._names = names
        self._environ = environ
        self._findings = findings

    def sort(self, filed: Collection[Setting]) -> None:
        """Those of the file, and of the environment."""
        self._sort_by_name(filed)
        self._sort_by_variable()

    def judge(self, reader: Path | str | None) -> None:
        """What of the settings is a fault. `reader` is the user's code, which may have options of its own, or None."""
        for setting in self._unknown:
            told = self._names.unknown(setting)
            if reader is None:
                self._findings.fault(told)
            else:
                self._findings.warn(f"{told}. It is handed to {reader}")
        for setting, accepted in self._refused:
            described = self._names.described(setting)
            if reader is None:
                self._findings.fault(f"{described} is refused: {accepted.instead}")
            else:
                self._findings.warn(f"{described} is handed to {reader}; for vLLM it has no effect: {accepted.instead}")

    def _sort_by_name(self, filed: Collection[Setting]) -> None:
        accepted, server_keys = lmi.option_names(), lmi.server_keys()
        for label in sorted(label for label in self._environ if label.startswith(PROPERTY_PREFIX)):
            name = label.removeprefix(PROPERTY_PREFIX).upper()
            self._findings.fault(f"{label} is a name for {FILE_NAME}; in the environment, write OPTION_{name}")
        for setting in (*filed, *option_settings(self._environ)):
            self.all.append(setting)
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
                self._unknown.append(setting)

    def _sort_by_variable(self) -> None:
        for option in self._table:
            self.of_options[option.name] += variable_settings(self._environ, option)
        variables = lmi.variables()
        for variable, setting in known_settings(self._environ, variables):
            accepted_row = variables[variable]
            self.all += [replace(setting, name=name) for name in accepted_row.names[:1]]  # HF_TASK is LMI's option.task
            self._accept(setting, accepted_row)
        accepted = {**lmi.option_names(), **lmi.server_keys()}
        for setting in server_settings(self._environ):
            if self._names.is_variable(setting.label):
                continue
            if setting.name in accepted:
                self._accept(setting, accepted[setting.name])
            else:
                self._findings.warn(self._names.unknown_server_key(setting))

    def _accept(self, setting: Setting, accepted: lmi.Ignored) -> None:
        if accepted.is_refused(setting.text):
            self._refused.append((setting, accepted))
        elif not accepted.has_no_effect(setting.text):
            self._findings.warn(f"{self._names.described(setting)} has no effect: {accepted.instead}")
