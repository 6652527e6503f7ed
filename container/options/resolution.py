"""One start's settings -> the values in force and where each is from."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from container.options.claims import Claims
from container.options.declaration import Option
from container.options.findings import Findings
from container.options.masking import masked
from container.options.option_names import OptionNames
from container.options.own_code import code_of, written
from container.options.parsers.locations import located_model, located_template
from container.options.parsers.modality_limits import ModalityLimits
from container.options.sources.place import STORE_VARIABLE, Place, find_place, inner_model, missing_model
from container.options.sources.properties import FILE_NAME
from container.options.sources.serving_file import ServingFile, server_variables, serving_file
from container.options.sources.settings import Channel, Setting, option_settings, variable_settings

RemoteFile = Callable[[str, str], bytes | None]
_LEGACY_TOKEN = "<image>"  # noqa: S105  # of nearly every model that vLLM 0.5 had


def nothing_remote(_address: str, _name: str) -> None:
    """For a start that reads no file on S3."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where settings come from: see `resolve`."""

    environ: Mapping[str, str]
    model_directory: Path
    server_file: Path
    remote_file: RemoteFile


class Resolution:
    """One start's settings. After `run`, `values` has what is set, `origins` says from where, and `findings` has the
    warnings."""

    def __init__(
        self, table: Collection[Option], sources: Sources, engine_fields: Callable[[], Collection[str]]
    ) -> None:
        self.values: dict[str, Any] = {}
        self.origins: dict[str, str] = {}
        self.findings = Findings()
        self._table = {option.name: option for option in table}
        self._names = OptionNames(table, engine_fields)
        self._sources = sources
        self._environ = {**server_variables(sources.server_file, self.findings), **sources.environ}
        self._claims = Claims(table, self._names, self._environ, self.findings)

    def run(self) -> None:
        """Raises OptionError with all faults at once."""
        named = self._named_model()
        place = find_place(self._environ, named[1] if named else None, self._sources.model_directory)
        file = self._serving_file(place)
        self._claims.sort(file.settings)
        if named and (file.remote or place.holds(file.directory)):
            self._let_the_file_name_the_model(named[0])
        for option in self._table.values():
            self._decide(option)
        self._decide_engine_arguments()
        self._regard_user_code(place)
        self._locate(place, file)
        if not self.findings.faults:  # what a faulty setting was meant to say is not known
            self._check_together()
        self.findings.raise_if_faulty()

    # Where is the file?

    def _named_model(self) -> tuple[Setting, str] | None:
        """What the environment names as the model: the best of the settings, and its value."""
        option = self._table["model_id"]
        written = (item for item in option_settings(self._environ) if self._names.option(item.name) is option)
        for setting in sorted((*variable_settings(self._environ, option), *written), key=lambda item: item.channel):
            with suppress(ValueError):  # a faulty value is told of later
                value = option.parser(setting.label, setting.name)(setting.text)
                if value is not None:
                    return setting, value
        return None

    def _serving_file(self, place: Place) -> ServingFile:
        remote = None
        if place.address:
            label = f"{place.address.rstrip('/')}/{FILE_NAME}"
            remote = (label, self._sources.remote_file(place.address, FILE_NAME))
        return serving_file(place.directories, self.findings, is_secret=self._names.is_secret, remote=remote)

    def _let_the_file_name_the_model(self, named: Setting) -> None:
        """In LMI the environment names the directory or the prefix of a model, and the file in there may name another
        model to load: it is no second opinion."""
        claims = self._claims.of_options["model_id"]
        filed = next((claim for claim in claims if claim.channel is Channel.PROPERTIES), None)
        if filed is None or filed.text.strip() == named.text.strip():
            return
        claims.remove(named)
        self.findings.warn(
            f"{self._names.described(filed)} is served; {self._names.described(named)} is where that file stands"
        )

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
        claims = self._claims.of_options[option.name]
        for claim in sorted(claims, key=lambda claim: (claim.channel, option.names.index(claim.name))):
            try:
                value = option.parser(claim.label, claim.name)(claim.text)
            except ValueError as error:
                self._fault(claim, error)
            else:
                if value is not None:
                    yield claim, value

    def _decide_engine_arguments(self) -> None:
        arguments: dict[str, str] = {}
        for name, claims in self._claims.of_engine.items():
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

    # Is there code of the user's own, which may have options of its own?

    def _regard_user_code(self, place: Place) -> None:
        code, named = None, self.values.get("entry_point")
        try:
            code = code_of(named, place.directories, comes_later=place.address is not None)
        except ValueError as error:
            self._fault(self._winner("entry_point"), error)
        awaited = "the code of the model" if named is not None and place.address else None
        self._claims.judge(code.file if code else awaited)
        self.values["code"], self.values["code_directories"] = code, place.directories
        self.values["written"] = written(self._claims.all, self._table, self.values, self._names)

    # What do the values name, and do they go together?

    def _locate(self, place: Place, file: ServingFile) -> None:
        homes = [home for home in (file.directory, *place.directories) if home is not None]
        for name, located in (("model_id", located_model), ("chat_template", located_template)):
            if name not in self.values:
                continue
            try:
                self.values[name] = located(self.values[name], tuple(dict.fromkeys(homes)))
            except ValueError as error:
                text = self._remote_text(place, self.values[name]) if name == "chat_template" else None
                if text is None:
                    self._fault(self._winner(name), error)
                else:
                    self.values[name] = text
        self._regard_store(place.store)

    def _remote_text(self, place: Place, path: str) -> str | None:
        """A file beside a model on S3, which is not here yet."""
        if place.address is None or path.startswith(("/", "~")):
            return None
        content = self._sources.remote_file(place.address, path.removeprefix("./"))
        return None if content is None else content.decode("utf-8", errors="replace")

    def _regard_store(self, store: Path) -> None:
        found, model = inner_model(store), self.values.get("model_id")
        if self._environ.get("SERVING_LOAD_MODELS", "").strip().lower() == "none" and model is None:
            return
        if found is None:
            if model is None and not self._claims.of_options["model_id"] and self.values["code"] is None:
                self._require_model(store)
        elif model is None:
            self.values["model_id"] = self.origins["model_id"] = str(found)
        elif model not in (str(found), str(store)):
            self.findings.warn(f"{self._described_winner('model_id')} is served, and the model in {found} is not")

    def _require_model(self, store: Path) -> None:
        """The default store may be missing or empty: that no model is named is told when one is needed."""
        missing = missing_model(store)
        if missing:
            self.findings.fault(f"{missing} Nothing else names a model; HF_MODEL_ID does.")
        elif self._environ.get(STORE_VARIABLE, "").strip() and not store.is_dir():
            self.findings.fault(
                f"{STORE_VARIABLE}={str(store)!r} is no directory; mount it, or name a model by HF_MODEL_ID"
            )

    def _check_together(self) -> None:
        if self.values.get("enable_auto_tool_choice") and "tool_call_parser" not in self.values:
            self.findings.fault(
                f"{self._described_winner('enable_auto_tool_choice')} needs a parser of the model's tool calls; "
                f"set OPTION_TOOL_CALL_PARSER, to hermes for instance"
            )
        if "image_feature_size" in self.values and "image_placeholder_token" not in self.values:
            self.values["image_placeholder_token"] = _LEGACY_TOKEN
            self.origins["image_placeholder_token"] = self.origins["image_feature_size"]
        if "image_input_shape" in self.values:
            self._plan_for(*self.values["image_input_shape"])
        for named in ("lora_modules", "default_mm_loras"):
            if self.values.get(named) and not self.values.get("enable_lora"):
                self.findings.fault(
                    f"{self._described_winner(named)} needs adapters to be served; set OPTION_ENABLE_LORA=true"
                )
        self._check_environment()
        self._check_api_key()

    def _plan_for(self, width: int, height: int) -> None:
        limits: ModalityLimits = self.values.get("limit_mm_per_prompt", ModalityLimits())
        if "image" not in limits.sizes:
            self.values["limit_mm_per_prompt"] = limits.planned_for(width, height)
            self.findings.warn(
                f"{self._described_winner('image_input_shape')} plans memory for images of up to {width}x{height}, as "
                f"the sizes of limit_mm_per_prompt do; one that needs more is refused. Remove it to plan for any"
            )
        elif limits.sizes["image"] != {"width": width, "height": height}:
            self._warn_of_two(self._winner("limit_mm_per_prompt"), self._winner("image_input_shape"))

    def _check_environment(self) -> None:
        """`env` comes too late for what Lumi reads itself, and it wins over the container's environment."""
        for name, value in self.values.get("env", {}).items():
            winner = self._described_winner("env")
            option = self._names.option_of_variable(name)
            if option:
                self.findings.fault(
                    f"{winner} sets {name}, which Lumi reads itself; write option.{option.name} instead"
                )
            elif self._environ.get(name, value) != value:
                self.findings.warn(f"{winner} is used for {name}, and the container's own {name} is not")

    def _check_api_key(self) -> None:
        """An empty value is no value, as in LMI; but whoever names the key wants one to be asked."""
        empty = [name for name, text in self._environ.items() if name.upper() == "OPTION_API_KEY" and not text.strip()]
        if empty and "api_key" not in self.values:
            self.findings.warn(f"{empty[0]} is empty, and so no key is asked of anybody; give it a value, or remove it")

    def _fault(self, setting: Setting, error: ValueError) -> None:
        told = masked(str(error))
        if "quotation" not in told:
            told += _cure_of_text(setting)
        self.findings.fault(f"{self._names.described(setting)} {told}")

    def _winner(self, name: str) -> Setting:
        return next(claim for claim in self._claims.of_options[name] if claim.origin == self.origins[name])

    def _described_winner(self, name: str) -> str:
        return self._names.described(self._winner(name))


def _cure_of_text(setting: Setting) -> str:
    """What is often wrong whatever the option: docker's --env-file and a file of properties take the text as it stands."""
    text = setting.text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return "; the quotation marks around it are part of the value: leave them out"
    if setting.line and " #" in text:
        return "; a '#' after a value is part of it: put comments on lines of their own"
    return ""
