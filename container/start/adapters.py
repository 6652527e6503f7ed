"""The options and the model's directory -> the adapters that are served from the start."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from container.model_store import Hub, fetch_hub_adapter, is_hub_id
from container.options import Options
from container.options.parsers.lora_modules import LoraModule
from handler.adapters.files import CONFIG, rank_to_allow, read_adapter_files
from handler.adapters.registry import Adapters, check_name
from handler.adapters.store import AdapterStore
from handler.errors import InvalidRequest, StartError

log = logging.getLogger("lumi.adapters")

DIRECTORY = "adapters"  # of the model's directory; each directory in it is an adapter, as in LMI


@dataclass(frozen=True, slots=True)
class StaticAdapter:
    """An adapter that is on this machine: its name in requests, the directory of its files, and its source as configured.
    `is_remote` is whether its files come from the hub, whose authors are not the operator."""

    name: str
    directory: Path
    source: str
    is_remote: bool = False


async def find_static_adapters(
    options: Options, homes: Sequence[Path], store: AdapterStore, hub: Hub | None = None
) -> tuple[StaticAdapter, ...]:
    """The adapters of `lora_modules` and `default_mm_loras`, then those in `adapters/` of each of `homes`.

    Raises StartError for one that cannot be served. If adapters are not enabled, a warning names those in `homes`.
    """
    local = [module for home in dict.fromkeys(homes) for module in _list_directory(home)]
    if not options.enable_lora:
        if local:
            names = ", ".join(module.name for module in local)
            log.warning("the adapters %s are not served; set OPTION_ENABLE_LORA=true to serve them", names)
        return ()
    adapters: dict[str, StaticAdapter] = {}
    for module in (*options.lora_modules, *options.default_mm_loras, *local):
        adapter = await _fetch(module, homes, store, hub or Hub())
        if (other := adapters.get(module.name)) is not None:
            raise StartError(f"Two adapters have the name {module.name}: {other.source} and {module.path}; rename one.")
        _check(adapter, options)
        adapters[module.name] = adapter
    if len(adapters) > (kept := options.max_cpu_loras or options.max_loras):
        log.warning("%d adapters are served and %d kept in memory; raise OPTION_MAX_CPU_LORAS", len(adapters), kept)
    return tuple(adapters.values())


async def load_static_adapters(registry: Adapters, adapters: Sequence[StaticAdapter]) -> None:
    """Load them into the engine. Raises StartError."""
    for adapter in adapters:
        try:
            await registry.load(adapter.name, adapter.directory, adapter.source, is_remote=adapter.is_remote)
        except InvalidRequest as fault:
            raise _cannot_serve(adapter, fault) from fault


def _list_directory(home: Path) -> list[LoraModule]:
    try:
        paths = sorted(path for path in (home / DIRECTORY).iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError:
        return []
    return [LoraModule(path.name, str(path)) for path in paths]


async def _fetch(module: LoraModule, homes: Sequence[Path], store: AdapterStore, hub: Hub) -> StaticAdapter:
    try:
        if module.path.startswith("s3://"):
            return StaticAdapter(module.name, await store.fetch(module.path), module.path)
        if (local := _find_local(module, homes)) is not None:
            return StaticAdapter(module.name, local, module.path)
        if "/" in module.path and is_hub_id(module.path):
            return StaticAdapter(module.name, await fetch_hub_adapter(module.path, hub), module.path, is_remote=True)
    except (InvalidRequest, StartError) as fault:
        raise StartError(f"The adapter {module.name} is not available. {fault}") from fault
    raise StartError(
        f"The adapter {module.name} has the path {module.path}, which is not a directory. Correct the path: absolute, or "
        "relative to the model's directory."
    )


def _find_local(module: LoraModule, homes: Sequence[Path]) -> Path | None:
    path = Path(module.path).expanduser()
    return next((place.absolute() for place in (*(home / path for home in homes), path) if place.is_dir()), None)


def _check(adapter: StaticAdapter, options: Options) -> None:
    """What can be checked before the model is loaded, which takes minutes. Raises StartError."""
    try:
        check_name(adapter.name, options.served_model_name)
        files = read_adapter_files(adapter.directory)
    except InvalidRequest as fault:
        raise _cannot_serve(adapter, fault) from fault
    if files.rank > options.max_lora_rank:
        raise StartError(
            f"The adapter {adapter.name} has rank {files.rank} ({adapter.directory / CONFIG}), but OPTION_MAX_LORA_RANK "
            f"is {options.max_lora_rank}; {rank_to_allow(files.rank)}."
        )


def _cannot_serve(adapter: StaticAdapter, fault: InvalidRequest) -> StartError:
    return StartError(f"The adapter {adapter.name} in {adapter.directory} cannot be served. {fault}")
