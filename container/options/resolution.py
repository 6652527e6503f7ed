"""Settings of every channel, held against the tables -> the values in force and where each is from."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from container.options import lmi, properties
from container.options.declaration import Option
from container.options.findings import Findings
from container.options.locations import holds_model, local_model, located_model, located_template
from container.options.masking import masked
from container.options.option_names import OptionNames
from container.options.serving_file import file_settings
from container.options.settings import Setting, known_settings, option_settings, server_settings, variable_settings


class Resolution:
    """One start's settings. After `run`, `values` has what is set, `origins` says from where, and `findings` has the
    warnings."""

    def __init__(
        self,
        table: Collection[Option],
        environ: Mapping[str, str],
        engine_fields: Callable[[], Collection[str]],
        model_directory: Path,
    ) -> None:
        self.values: dict[str, Any] = {}
        self.origins: dict[str, str] = {}
        self.findings = Findings()
        self._table = {option.name: option for option in table}
        self._names = OptionNames(table, engine_fields)
        self._environ = environ
        self._model_directory = model_directory
        self._claims: dict[str, list[Setting]] = defaultdict(list)
        self._engine_claims: dict[str, list[Setting]] = defaultdict(list)

    def run(self) -> None:
        """Raises OptionError with all faults at once."""
        home = self._home()
        self._sort_by_name(home)
        self._sort_by_variable()
        for option in self._table.values():
            self._decide(option)
        self._decide_engine_arguments()
        self._locate(home)
        if not self.findings.faults:  # what a faulty setting was meant to say is not known
            self._check_together()
        self.findings.refuse_faults()

    def _home(self) -> Path:
        """The directory that relative names are relative to: the model's own, where the environment names one."""
        option = self._table["model_id"]
        written = (item for item in option_settings(self._environ) if self._names.option(item.name) is option)
        for named in (*variable_settings(self._environ, option), *written):
            return local_model(named.text, self._model_directory) or self._model_directory
        return self._model_directory

    # Whose is it?

    def _sort_by_name(self, home: Path) -> None:
        filed = file_settings(home, self._model_directory, self.findings, is_secret=self._names.is_secret)
        accepted, server_keys = lmi.option_names(), lmi.server_keys()
        for setting in (*filed, *option_settings(self._environ)):
            option = self._names.option(setting.name)
            if option:
                self._claims[option.name].append(setting)
            elif setting.name in accepted:
                self._accept(setting, accepted[setting.name])
            elif setting.line and setting.name in server_keys:
                self._accept(setting, server_keys[setting.name])
            elif self._names.is_engine_field(setting.name):
                self._engine_claims[setting.name].append(setting)
            else:
                self.findings.fault(self._names.unknown(setting))

    def _sort_by_variable(self) -> None:
        for option in self._table.values():
            self._claims[option.name] += variable_settings(self._environ, option)
        variables = lmi.variables()
        for setting in known_settings(self._environ, variables):
            self._accept(setting, variables[setting.label])
        accepted = {**lmi.option_names(), **lmi.server_keys()}
        for setting in server_settings(self._environ):
            if self._names.is_variable(setting.label):
                continue
            if setting.name in accepted:
                self._accept(setting, accepted[setting.name])
            else:
                self.findings.warn(self._names.unknown_server_key(setting))

    def _accept(self, setting: Setting, accepted: lmi.Accepted) -> None:
        if accepted.is_refused(setting.text):
            self.findings.fault(f"{self._names.described(setting)} is refused: {accepted.instead}")
        elif not accepted.is_moot(setting.text):
            self.findings.warn(f"{self._names.described(setting)} has no effect: {accepted.instead}")

    # Which one wins?

    def _decide(self, option: Option) -> None:
        parsed = list(self._parsed(option))
        self.origins[option.name] = parsed[0][0].origin if parsed else "default"
        if not parsed:
            return
        winner, value = parsed[0]
        self.values[option.name] = value
        for loser, other in parsed[1:]:
            if other != value:
                self._warn_of_two(winner, loser)

    def _parsed(self, option: Option) -> Iterator[tuple[Setting, Any]]:
        """What each channel says, the winner first. In one channel the option's own name wins over its aliases."""
        claims = self._claims[option.name]
        for claim in sorted(claims, key=lambda claim: (claim.channel, option.names.index(claim.name))):
            parse = option.declared.parse_as.get(claim.label, option.declared.parse)
            try:
                yield claim, parse(claim.text)
            except ValueError as error:
                self.findings.fault(f"{self._names.described(claim)} {masked(str(error))}")

    def _decide_engine_arguments(self) -> None:
        arguments: dict[str, str] = {}
        for name, claims in self._engine_claims.items():
            winner, *losers = sorted(claims, key=lambda claim: claim.channel)
            arguments[name] = winner.text.strip()
            self.origins[name] = winner.origin
            for loser in losers:
                if loser.text.strip() != arguments[name]:
                    self._warn_of_two(winner, loser)
        self.values["engine_arguments"] = arguments

    def _warn_of_two(self, winner: Setting, loser: Setting) -> None:
        used, unused = self._names.described(winner), self._names.described(loser)
        self.findings.warn(f"{used} is used and {unused} is not; remove one of them")

    # What do the values name, and do they go together?

    def _locate(self, home: Path) -> None:
        for name, located in (("model_id", located_model), ("chat_template", located_template)):
            if name not in self.values:
                continue
            try:
                self.values[name] = located(self.values[name], home)
            except ValueError as error:
                self.findings.fault(f"{self._described_winner(name)} {error}")
        self._regard_model_directory()

    def _regard_model_directory(self) -> None:
        directory, model = self._model_directory, self.values.get("model_id")
        if holds_model(directory):
            if model is None:
                self.values["model_id"] = self.origins["model_id"] = str(directory)
            elif model != str(directory.absolute()):
                named = self._described_winner("model_id")
                self.findings.warn(f"{named} is served, and the model in {directory} is not")
        elif model is None and _holds_files(directory):
            self.findings.warn(f"{directory} holds no config.json or params.json, so it is not taken for the model")

    def _check_together(self) -> None:
        if self.values.get("enable_auto_tool_choice") and "tool_call_parser" not in self.values:
            self.findings.fault(
                f"{self._described_winner('enable_auto_tool_choice')} needs a parser of the model's tool calls; "
                f"set OPTION_TOOL_CALL_PARSER, to hermes for instance"
            )

    def _described_winner(self, name: str) -> str:
        claims = self._claims[name]
        return self._names.described(next(claim for claim in claims if claim.origin == self.origins[name]))


def _holds_files(directory: Path) -> bool:
    try:
        return any(entry.name != properties.FILE_NAME for entry in directory.iterdir())
    except OSError:
        return False
