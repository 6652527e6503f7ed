"""Decisions on the model and the chat template -> the same as absolute paths or addresses."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from container.options.decisions import Decision, Decisions, parse_fault, value_of
from container.options.findings import NOTHING, Findings, fault, warning
from container.options.names import OptionNames
from container.options.parsers.locations import locate_model, locate_template
from container.options.sources.reading import Sources
from container.options.sources.search_path import STORE_VARIABLE, inner_model, why_no_model
from container.options.sources.settings import Channel, Origin, Setting

Locate = Callable[[str, Sequence[Path]], str]


def locate(
    decisions: Decisions, sources: Sources, names: OptionNames, *, needs_model: bool
) -> tuple[Decisions, Findings]:
    """Only what changes is returned. `needs_model` is whether a missing model is a fault: no setting names one, and there is
    no user code."""
    path = sources.path
    homes = tuple(dict.fromkeys(home for home in (sources.file.directory, *path.directories) if home is not None))

    def template(text: str, homes: Sequence[Path]) -> str:
        try:
            return locate_template(text, homes)
        except ValueError:
            remote = _remote_text(sources, text)
            if remote is None:
                raise
            return remote

    locators: dict[str, Locate] = {"model_id": locate_model, "chat_template": template}
    parts = {
        name: _locate(decisions[name], locator, homes, names) for name, locator in locators.items() if name in decisions
    }
    located = {name: decision for name, (decision, _) in parts.items()}
    stored, found = _model_of_store(located, sources, names, needs_model=needs_model)
    return {**located, **stored}, Findings.combine((*(faults for _, faults in parts.values()), found))


def _locate(
    decision: Decision, locator: Locate, homes: Sequence[Path], names: OptionNames
) -> tuple[Decision, Findings]:
    try:
        return replace(decision, value=locator(decision.value, homes)), NOTHING
    except ValueError as error:
        return decision, parse_fault(decision.setting, error, names)


def _remote_text(sources: Sources, path: str) -> str | None:
    """A file beside a model on S3, which is not here yet."""
    if sources.path.address is None or path.startswith(("/", "~")):
        return None
    content = sources.remote_file(sources.path.address, path.removeprefix("./"))
    return None if content is None else content.decode("utf-8", errors="replace")


def _model_of_store(
    decisions: Decisions, sources: Sources, names: OptionNames, *, needs_model: bool
) -> tuple[Decisions, Findings]:
    """The model of the model directory, where nothing else names one."""
    store, model = sources.path.store, value_of(decisions, "model_id")
    found = inner_model(store)
    if model is None and sources.environ.get("SERVING_LOAD_MODELS", "").strip().lower() == "none":
        return {}, NOTHING
    if found is None:
        return {}, _missing_model(store, sources) if model is None and needs_model else NOTHING
    if model is None:
        setting = Setting("model_id", str(found), Origin(Channel.MODEL_DIRECTORY, str(found)))
        return {"model_id": Decision(str(found), setting)}, NOTHING
    if model in (str(found), str(store)):
        return {}, NOTHING
    described = names.describe(decisions["model_id"].setting)
    return {}, warning(f"{described} is served, and the model in {found} is not")


def _missing_model(store: Path, sources: Sources) -> Findings:
    """The default store may be missing or empty: a missing model is reported when one is needed."""
    reason = why_no_model(store)
    if reason:
        return fault(f"{reason} Nothing else names a model; HF_MODEL_ID does.")
    if sources.environ.get(STORE_VARIABLE, "").strip() and not store.is_dir():
        return fault(f"{STORE_VARIABLE}={str(store)!r} is not a directory; mount it, or name a model with HF_MODEL_ID")
    return NOTHING
