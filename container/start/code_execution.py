"""Options -> the user's code, found and executed, and the properties that it receives."""

import asyncio
import logging
from pathlib import Path

from container.options import Options
from handler.djl import user_code
from handler.djl.entry_point import EntryPoint, find
from handler.djl.user_code import UserCode
from handler.errors import StartError

log = logging.getLogger("lumi")


def find_code(options: Options, model: Path) -> EntryPoint | None:
    """The code in the directory of a model that was fetched. Raises StartError if OPTION_ENTRY_POINT names code that is
    neither there nor in the directories that were searched before."""
    try:
        return find(options.entry_point, (*options.code_directories, model))
    except ValueError as fault:
        raise StartError(f"OPTION_ENTRY_POINT={options.entry_point!r} {fault}.") from fault


async def execute_code(options: Options, entry: EntryPoint) -> UserCode:
    """Raises StartError if the code fails, or takes longer than a model may take to load."""
    executing = user_code.execute(
        entry,
        handler=options.handler,
        install_requirements=options.install_requirements,
        seconds=options.predict_timeout,
    )
    try:
        async with asyncio.timeout(options.model_loading_timeout):
            code = await executing
    except TimeoutError as late:
        raise StartError(
            f"{entry.file} was not executed after {options.model_loading_timeout:g} s; raise "
            "OPTION_MODEL_LOADING_TIMEOUT."
        ) from late
    log.info("executed %s", code.module)
    return code


def code_properties(options: Options, entry: EntryPoint, model: str, *, gpus: int) -> dict[str, str]:
    """The options as the code reads them, by LMI's names. `model` is "" if the code has its own."""
    degree = options.written.get("tensor_parallel_degree", "max")
    return {
        **options.written,
        "model_dir": str(entry.directory),
        **({"model_id": model} if model else {}),
        # As LMI's server hands them over: numbers, and -1 for a machine without GPUs.
        "tensor_parallel_degree": str(max(1, gpus)) if degree == "max" else degree,
        "device_id": "0" if gpus else "-1",
    }
