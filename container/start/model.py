"""Options -> the model that they name, the names that it is served under, and the model on this machine."""

import logging
from collections.abc import Callable
from pathlib import Path

from container.model_store import CACHE, Hub, Located, fetch, locate, remote_files
from container.model_store.read_ahead import read_ahead
from container.options import Options
from container.options.sources.properties import FILE_NAME
from handler.checkpoint.files import ModelFiles
from handler.errors import StartError

log = logging.getLogger("lumi")


def locate_model(options: Options) -> Located | None:
    """The model that is named; None if there is none for vLLM, but code that may load its own. Raises StartError."""
    try:
        return locate(options.model_id)
    except StartError:
        if options.code is None:
            raise
        return None


def served_names(options: Options, model: Located | None) -> tuple[str, ...]:
    """What `model` of a request may be."""
    # LMI's clients that name a model name the last one, which is what LMI calls a model that has no other name.
    return options.served_model_name or (*(model.names if model else ("model",)), "lmi")


def hub(options: Options) -> Hub:
    """How the Hugging Face hub is used."""
    token = options.hf_token.get_secret_value() if options.hf_token else None
    arguments = options.engine_arguments
    return Hub(options.revision, token, arguments.get("load_format", "auto"), arguments.get("download_dir"))


def model_cache(options: Options) -> Path:
    """The directory for models from S3."""
    return Path(options.engine_arguments.get("download_dir", CACHE))


def model_files(options: Options, located: Located) -> ModelFiles | None:
    """The files of the model where they are, to be read without a download; None for an archive. Raises StartError."""
    return None if located.is_archive else remote_files(located, hub(options))


async def fetch_model(
    options: Options, located: Located, report_progress: Callable[[str], None], *, memory: int
) -> str:
    """The model's directory, or its id on the hub once its files are here. Raises StartError.

    The weights are read into the page cache in the background; `memory` is how many bytes of it are free.
    """
    model = await fetch(located, report_progress, cache=model_cache(options), hub=hub(options))
    _warn_of_unread_file(located, Path(model))
    # On a CPU the engine takes as much again to keep them.
    read_ahead(located, model, hub(options), memory // 2)
    return model


def _warn_of_unread_file(located: Located, model: Path) -> None:
    """Options are resolved before an archive is downloaded: a file in it comes too late."""
    unread = next((at / FILE_NAME for at in (model, model.parent) if (at / FILE_NAME).is_file()), None)
    if located.is_archive and unread is not None:
        log.warning(
            "%s of %s is not read, as it comes after the start; set its options in the environment, or upload the model "
            "unpacked",
            unread.name,
            located.source,
        )
