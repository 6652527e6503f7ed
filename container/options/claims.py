"""Settings of every channel -> Claims: what each setting is for."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from container.options import lmi
from container.options.declaration import Option
from container.options.findings import NOTHING, Findings, fault, warning
from container.options.names import OptionNames
from container.options.sources.properties import FILE_NAME
from container.options.sources.reading import Sources
from container.options.sources.settings import (
    PROPERTY_PREFIX,
    Channel,
    Setting,
    known_settings,
    option_settings,
    server_settings,
    variable_settings,
)
from container.options.sources.vllm_container import empty_values, vllm_settings

LOAD_MODELS = "SERVING_LOAD_MODELS"


class NoOption(Enum):
    """What a setting is for that is neither an option nor in LMI's tables."""

    ENGINE_ARGUMENT = "an engine argument of vLLM"
    UNKNOWN = "unknown"
    UNKNOWN_SERVER_KEY = "an unknown key of LMI's server"


Owner = Option | lmi.Ignored | NoOption


@dataclass(frozen=True, slots=True)
class Claims:
    """Every setting with its `owners`. `named` are the settings that user code reads by their names, the file's first,
    since the file wins."""

    owners: tuple[tuple[Setting, Owner], ...]
    named: tuple[Setting, ...]
    findings: Findings

    def of(self, option: Option) -> list[Setting]:
        """The settings for `option`, the winner first. In one channel the option's own name wins over its aliases."""
        claims = [setting for setting, owner in self.owners if owner is option]
        return sorted(claims, key=lambda claim: (claim.origin.channel, option.names.index(claim.name)))

    def of_engine(self) -> dict[str, list[Setting]]:
        """The settings of vLLM's own arguments, by name, the winner first."""
        claims = [setting for setting, owner in self.owners if owner is NoOption.ENGINE_ARGUMENT]
        names = dict.fromkeys(claim.name for claim in claims)
        ranked = sorted(claims, key=lambda claim: claim.origin.channel)
        return {name: [claim for claim in ranked if claim.name == name] for name in names}

    @property
    def names_model(self) -> bool:
        """Whether a setting names the model, even if its value is faulty."""
        return any(isinstance(owner, Option) and owner.name == "model_id" for _, owner in self.owners)

    def without(self, setting: Setting, found: Findings) -> "Claims":
        """The claims without `setting`, and with what is found about it."""
        owners = tuple(pair for pair in self.owners if pair[0] != setting)
        return replace(self, owners=owners, findings=self.findings + found)


def classify(sources: Sources, names: OptionNames) -> Claims:
    """The claims of serving.properties and of the environment."""
    environ = sources.environ
    by_name = (*sources.file.settings, *option_settings(environ))
    rows = lmi.variables()
    ignored = [(setting, rows[variable]) for variable, setting in known_settings(environ, rows)]
    server = [setting for setting in server_settings(environ) if not names.is_variable(setting.origin.label)]
    claims = Claims(
        owners=(
            *((setting, _owner(setting, names)) for setting in (*by_name, *vllm_settings(environ, names))),
            *((setting, option) for option in names.table for setting in variable_settings(environ, option)),
            *ignored,
            *((setting, _owner_of_server_key(setting)) for setting in server),
        ),
        # HF_TASK is LMI's option.task
        named=(*by_name, *(replace(setting, name=row.names[0]) for setting, row in ignored if row.names)),
        findings=Findings.combine((*_misplaced(environ), empty_values(environ, names))),
    )
    if (store := _store_beside_model(claims, sources, names)) is not None:
        claims = claims.without(store, NOTHING)
    if sources.named in (None, store) or not sources.file_is_of_named_model:
        return claims
    return _let_file_name_model(claims, sources.named, names)


def _owner(setting: Setting, names: OptionNames) -> Owner:
    """What a setting of serving.properties, OPTION_* or SM_VLLM_* is for."""
    name, ignored = setting.name, lmi.option_names()
    if option := names.option(name):
        return option
    if name in ignored:
        return ignored[name]
    if setting.origin.line and name in lmi.server_keys():
        return lmi.server_keys()[name]
    return NoOption.ENGINE_ARGUMENT if names.is_engine_argument(name) else NoOption.UNKNOWN


def _owner_of_server_key(setting: Setting) -> Owner:
    """What SERVING_<KEY> is for."""
    return {**lmi.option_names(), **lmi.server_keys()}.get(setting.name, NoOption.UNKNOWN_SERVER_KEY)


def _store_beside_model(claims: Claims, sources: Sources, names: OptionNames) -> Setting | None:
    """SERVING_LOAD_MODELS where it names the model directory, and another setting the model: LMI needs both, since without
    the first it reads neither the settings nor the code there."""
    option = names.option("model_id")
    owned = claims.of(option) if option else []
    loading = next((claim for claim in owned if claim.origin.label == LOAD_MODELS), None)
    if option is None or loading is None or len(owned) == 1:
        return None
    with suppress(ValueError):  # several models; a fault later
        directory = option.parser(LOAD_MODELS, loading.name)(loading.text)
        if directory is not None and Path(directory.removeprefix("file://")).absolute() == sources.path.store:
            return loading
    return None


def _let_file_name_model(claims: Claims, named: Setting, names: OptionNames) -> Claims:
    """In LMI the environment names the directory or the prefix of a model, and the file there may name another model to
    load. `named` is that setting of the environment: it does not compete with the file."""
    option = names.option("model_id")
    owned = claims.of(option) if option else []
    filed = next((claim for claim in owned if claim.origin.channel is Channel.PROPERTIES), None)
    if filed is None or filed.text.strip() == named.text.strip():
        return claims
    described = f"{names.describe(filed)} is served; {names.describe(named)} is where that file is"
    return claims.without(named, warning(described))


def report(claims: Claims, names: OptionNames, reader: Path | str | None, *, strict: bool) -> Findings:
    """The findings about settings that do not set an option. `reader` is the user's code, which may have options of its
    own, or None. `strict` is whether a setting that resembles nothing known ends the start."""
    return Findings.combine(_reports(claims, names, reader, strict=strict))


def _reports(claims: Claims, names: OptionNames, reader: Path | str | None, *, strict: bool) -> Iterator[Findings]:
    for setting, owner in claims.owners:
        if owner is NoOption.UNKNOWN:
            unknown = names.unknown_option(setting)
            yield _report_unknown(unknown.sentence, reader, is_fault=unknown.misspelt or strict)
        elif owner is NoOption.UNKNOWN_SERVER_KEY:
            yield _report_unknown(names.unknown_server_key(setting), None, is_fault=strict)
        elif isinstance(owner, lmi.Ignored):
            yield _report_ignored(names.describe(setting), setting.text, owner, reader)


def _report_unknown(sentence: str, reader: Path | str | None, *, is_fault: bool) -> Findings:
    """LMI passes over what it does not know, so only a likely mistake ends the start."""
    if reader is not None:
        return warning(f"{sentence}. It is passed to {reader}")
    return fault(sentence) if is_fault else warning(sentence)


def _report_ignored(described: str, text: str, row: lmi.Ignored, reader: Path | str | None) -> Findings:
    if row.is_refused(text):
        if reader is None:
            return fault(f"{described} is refused: {row.instead}")
        return warning(f"{described} is passed to {reader}; for vLLM it has no effect: {row.instead}")
    if row.has_no_effect(text):
        return NOTHING
    return warning(f"{described} has no effect: {row.instead}")


def _misplaced(environ: Mapping[str, str]) -> Iterator[Findings]:
    for label in sorted(label for label in environ if label.startswith(PROPERTY_PREFIX)):
        name = label.removeprefix(PROPERTY_PREFIX).upper()
        yield fault(f"{label} is a name for {FILE_NAME}; in the environment, write OPTION_{name}")
