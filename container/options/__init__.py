"""`resolve`: environment and serving.properties -> frozen Options.

sources -> claims (what each setting is for) -> decisions (the value of each option) -> located, combined -> Options. Each
stage returns its result and its findings; all faults of a start are reported together.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from container.options.claims import classify, report
from container.options.combinations import combine
from container.options.decisions import Decisions, decide, decide_engine_arguments, value_of
from container.options.findings import Findings
from container.options.frozen import FrozenMapping
from container.options.locating import locate
from container.options.names import OptionNames
from container.options.parsers.locations import MODEL_DIRECTORY, SERVER_FILE
from container.options.sources.reading import RemoteFile, read_sources
from container.options.sources.sagemaker import is_sagemaker_host
from container.options.table import TABLE, Options
from container.options.user_code import code_properties, find_code, reader_of_unknown

__all__ = ["TABLE", "Options", "Resolved", "resolve"]


@dataclass(frozen=True)
class Resolved:
    """`options`, the origin of each (`OPTION_DTYPE`, `serving.properties line 3`, `default`), and the warnings."""

    options: Options
    origins: Mapping[str, str]
    warnings: tuple[str, ...]


def no_remote_file(_address: str, _name: str) -> None:
    """For a start that reads no file on S3."""


def resolve(
    environ: Mapping[str, str],
    *,
    engine_fields: Callable[[], Collection[str]],
    model_directory: Path = MODEL_DIRECTORY,
    server_file: Path = SERVER_FILE,
    remote_file: RemoteFile = no_remote_file,
) -> Resolved:
    """The options that `environ` and the model's serving.properties set. Raises OptionError with every fault found.

    `engine_fields` gives the names of vLLM's engine arguments; it is called only for a name that no table here has.
    `server_file` is LMI's config.properties, whose keys are those of SERVING_*. `remote_file` gives the content of a
    file beside a model on S3, by the model's address and the file's name; it is called only where the environment names
    such a model, and what it raises ends the start.
    """
    names = OptionNames(TABLE, engine_fields)
    sources = read_sources(environ, names, model_directory, server_file, remote_file)
    claims = classify(sources, names)
    decided, parsing = decide(claims, names)
    arguments, passing = decide_engine_arguments(claims, names)
    code, finding_code = find_code(decided, sources, names)
    unused = report(claims, names, reader_of_unknown(code, decided, sources), strict=bool(value_of(decided, "strict")))
    has_own_model = code is not None and code.service is None
    located, locating = locate(decided, sources, names, needs_model=not has_own_model and not claims.names_model)
    findings = (sources.findings, claims.findings, parsing, passing, finding_code, unused, locating)
    Findings.combine(findings).raise_if_faulty()
    # The meaning of a faulty setting is unknown, so options are compared with each other only if there is no fault.
    combined, combining = combine({**decided, **located}, claims, sources.environ, names)
    combining.raise_if_faulty()
    complete = {**decided, **located, **combined}
    options = Options(
        **_values(complete),
        engine_arguments=_values(arguments),
        engine_settings={name: names.describe(decision.setting) for name, decision in arguments.items()},
        written=code_properties(claims, decided, names),
        code_directories=sources.path.directories,
        code=code,
        on_sagemaker=is_sagemaker_host(sources.environ),
    )
    return Resolved(options, _origins({**complete, **arguments}), Findings.combine((*findings, combining)).warnings)


def _values(decisions: Decisions) -> dict[str, Any]:
    return {name: decision.value for name, decision in decisions.items()}


def _origins(decisions: Decisions) -> Mapping[str, str]:
    defaults = {option.name: "default" for option in TABLE}
    return FrozenMapping({**defaults, **{name: str(decision.setting.origin) for name, decision in decisions.items()}})
