"""The model's directory and the options -> the adapters that are served from the start, each reason to refuse one."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from container.adapters.store import AdapterStore
from container.model_store import Hub, fetch_hub_adapter, is_hub_id
from container.options import Options
from container.options.parsers.lora_modules import LoraModule
from handler.adapters.files import CONFIG, inspected, rank_to_allow
from handler.adapters.registry import Adapters, check_name
from handler.errors import InvalidRequest, StartError

log = logging.getLogger("lumi.adapters")

DIRECTORY = "adapters"  # of the model's directory; each in it is an adapter, as LMI has it


@dataclass(frozen=True, slots=True)
class StaticAdapter:
    """An adapter that is on this machine: what requests call it, where its files are, and how it was named."""

    name: str
    directory: Path
    source: str


async def static_adapters(
    options: Options, homes: Sequence[Path], store: AdapterStore, hub: Hub | None = None
) -> tuple[StaticAdapter, ...]:
    """Those that `lora_modules` and `default_mm_loras` name, then those in `adapters/` of each of `homes`, where the model is. Raises
    StartError for one that cannot be served; where adapters are off, a warning names what is there."""
    lying = [module for home in dict.fromkeys(homes) for module in _lying_in(home)]
    if not options.enable_lora:
        if lying:
            names = ", ".join(module.name for module in lying)
            log.warning("the adapters %s are not served; set OPTION_ENABLE_LORA=true to serve them", names)
        return ()
    found: dict[str, StaticAdapter] = {}
    for module in (*options.lora_modules, *options.default_mm_loras, *lying):
        adapter = StaticAdapter(module.name, await _brought(module, homes, store, hub or Hub()), module.path)
        if (other := found.get(module.name)) is not None:
            raise StartError(f"Two adapters are called {module.name}: {other.source} and {module.path}; rename one.")
        _check(adapter, options)
        found[module.name] = adapter
    if len(found) > (kept := options.max_cpu_loras or options.max_loras):
        log.warning("%d adapters are served and %d kept in memory; raise OPTION_MAX_CPU_LORAS", len(found), kept)
    return tuple(found.values())


async def serve(adapters: Adapters, found: Sequence[StaticAdapter]) -> None:
    """Have the engine serve them. Raises StartError."""
    for adapter in found:
        try:
            await adapters.add(adapter.name, adapter.directory, adapter.source)
        except InvalidRequest as fault:
            raise StartError(f"The adapter {adapter.name} in {adapter.directory} is refused. {fault}") from fault


def _lying_in(home: Path) -> list[LoraModule]:
    try:
        found = sorted(path for path in (home / DIRECTORY).iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError:
        return []
    return [LoraModule(path.name, str(path)) for path in found]


async def _brought(module: LoraModule, homes: Sequence[Path], store: AdapterStore, hub: Hub) -> Path:
    try:
        if module.path.startswith("s3://"):
            return await store.bring(module.path)
        if (local := _local(module, homes)) is not None:
            return local
        if is_hub_id(module.path):
            return await fetch_hub_adapter(module.path, hub)
    except (InvalidRequest, StartError) as fault:
        raise StartError(f"The adapter {module.name} cannot be had. {fault}") from fault
    raise StartError(
        f"The adapter {module.name} is to be in {module.path}, and there is no such directory; correct the path, "
        "relative to the model's directory or absolute."
    )


def _local(module: LoraModule, homes: Sequence[Path]) -> Path | None:
    path = Path(module.path).expanduser()
    found = next((place for place in (*(home / path for home in homes), path) if place.is_dir()), None)
    return found.absolute() if found is not None else None


def _check(adapter: StaticAdapter, options: Options) -> None:
    """What can be known before the model is loaded, which takes minutes."""
    try:
        check_name(adapter.name, options.served_model_name)
        files = inspected(adapter.directory)
    except InvalidRequest as fault:
        raise StartError(f"The adapter {adapter.name} in {adapter.directory} is refused. {fault}") from fault
    if files.rank > options.max_lora_rank:
        raise StartError(
            f"The adapter {adapter.name} has the rank {files.rank} ({adapter.directory / CONFIG}), and "
            f"OPTION_MAX_LORA_RANK is {options.max_lora_rank}; {rank_to_allow(files.rank)}."
        )
