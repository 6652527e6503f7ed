"""Hugging Face id | s3:// | local directory -> a model that the engine can load, and the names it is served under."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from container.model_store import directory
from container.model_store.address import Address, is_hub_id
from container.model_store.background import until_stopped
from container.model_store.hub_files import Hub
from handler.checkpoint.files import DirectoryFiles, ModelFiles
from handler.errors import StartError

__all__ = [
    "CACHE",
    "Hub",
    "Kind",
    "Located",
    "fetch",
    "fetch_adapter",
    "fetch_hub_adapter",
    "file_beside",
    "is_hub_id",
    "locate",
    "remote_files",
]

CACHE = Path("/tmp/lumi-models")  # noqa: S108  # SageMaker's and LMI's large disk; each model in it has a lock
ADAPTER = ("adapter_config.json",)  # makes a directory an adapter, as config.json makes one a model


class Kind(StrEnum):
    """Where the model is before the start."""

    DIRECTORY = "directory"
    S3 = "S3"
    HUB = "Hugging Face hub"


@dataclass(frozen=True, slots=True)
class Located:
    """`source` is the directory with the model, an s3:// address, or an id on the hub; `names` are its names in requests."""

    kind: Kind
    source: str
    names: tuple[str, ...]

    @property
    def is_archive(self) -> bool:
        """Whether the model comes as one file, to be unpacked."""
        return self.kind is Kind.S3 and Address.parse(self.source).is_archive


def file_beside(address: str, name: str) -> bytes | None:
    """The small file `name` directly below an s3:// prefix, or None if there is none or the model is
    an archive. Blocks for as long as S3 takes. Raises StartError.
    """
    from container.model_store.s3_download import small_file  # noqa: PLC0415  # boto3, as below

    return small_file(Address.parse(address), name)


def locate(model_id: str | None) -> Located:
    """What `model_id` is, without any request. Raises StartError."""
    if model_id is None:
        raise StartError(
            "No model is set. Set HF_MODEL_ID (or OPTION_MODEL_ID) to a Hugging Face id, an s3:// address or a "
            "directory, or mount a model that has a config.json at /opt/ml/model."
        )
    if model_id.startswith("s3://"):
        address = Address.parse(model_id)
        return Located(Kind.S3, str(address), tuple(dict.fromkeys((address.name, str(address)))))
    path = Path(model_id)
    if path.is_dir():
        found = directory.model_in(path)
        # Clients of vLLM's own server send the path; people prefer the directory's name.
        return Located(Kind.DIRECTORY, str(found), tuple(dict.fromkeys((path.resolve().name, str(path)))))
    if not is_hub_id(model_id):
        raise StartError(f"The model {model_id!r} is neither an existing directory nor a Hugging Face id.")
    return Located(Kind.HUB, model_id, (model_id,))


def remote_files(located: Located, hub: Hub) -> ModelFiles:
    """The files of a model, read where they are. Raises StartError."""
    if located.kind is Kind.DIRECTORY:
        return DirectoryFiles(Path(located.source))
    from container.model_store import remote  # noqa: PLC0415  # boto3 and huggingface_hub, as below

    if located.kind is Kind.S3:
        return remote.S3Files(Address.parse(located.source))
    return remote.hub_files(located.source, hub)


async def fetch(located: Located, report: Callable[[str], None], *, cache: Path = CACHE, hub: Hub | None = None) -> str:
    """Download the model, and return what the engine loads: a directory, or the hub's id, with all files that vLLM reads
    in the hub's own cache.

    `report` gets the progress every few seconds, in a thread. Raises StartError with the reason and the cure.
    Cancelled, it ends within seconds; the next start resumes it.
    """
    if located.kind is Kind.S3:
        # boto3 takes half a second to import: not before the port is bound, and not at all for other models.
        from container.model_store.s3_download import download  # noqa: PLC0415

        address = Address.parse(located.source)
        return str(await until_stopped(lambda stop: download(address, cache, report, stop)))
    if located.kind is Kind.HUB:
        from container.model_store import hub_download  # noqa: PLC0415

        wanted = hub or Hub()
        await until_stopped(lambda stop: hub_download.download(located.source, wanted, report, stop))
    return located.source


async def fetch_adapter(address: str, cache: Path) -> str:
    """Download the LoRA adapter at an s3:// address below the directory `cache`, and return its directory. Raises StartError."""
    from container.model_store.s3_download import download  # noqa: PLC0415

    wanted = Address.parse(address)
    found = await until_stopped(lambda stop: download(wanted, cache, _ignore_progress, stop, configurations=ADAPTER))
    return str(found)


async def fetch_hub_adapter(repository: str, hub: Hub) -> Path:
    """Download the LoRA adapter of that id into the hub's cache, and return its directory. Raises StartError."""
    from container.model_store import hub_download  # noqa: PLC0415

    wanted = replace(
        hub, revision=None, load_format="safetensors", configurations=ADAPTER
    )  # the other fields are the model's
    await until_stopped(lambda stop: hub_download.download(repository, wanted, _ignore_progress, stop))
    return await asyncio.to_thread(hub_download.cached_directory, repository, wanted)


def _ignore_progress(_: str) -> None:
    """Adapters are small: their progress is not reported."""
