"""A tar or tar.gz -> a directory, member by member: only files, only inside it, and no more than the disk holds."""

import logging
import lzma
import shutil
import tarfile
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

from container.model_store.background import Stopped
from container.model_store.progress import format_bytes
from handler.errors import StartError

log = logging.getLogger("lumi.model")

_COPY_BYTES = 2**20
_MARGIN_BYTES = 64 * 2**20  # left free for other processes


def unpack(
    archive: Path, target: Path, report: Callable[[str], None], stop: threading.Event, free: Callable[[Path], int]
) -> None:
    """Unpack `archive` into the directory `target`. Raises StartError or Stopped, and then leaves no target."""
    log.info("unpacking %s", archive)
    report(f"unpacking {archive.name}")
    if target.exists():
        shutil.rmtree(target)
    target.mkdir()
    try:
        # As a stream: one block in memory, and nothing is read twice.
        with tarfile.open(archive, mode="r|*") as tar:
            for member in tar:
                _unpack_member(tar, member, target, stop, free)
    except (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError) as error:
        shutil.rmtree(target, ignore_errors=True)
        cure = "check the disk" if isinstance(error, OSError) and error.errno else "upload it again"
        raise StartError(f"The archive {archive.name} cannot be unpacked: {error}; {cure}.") from error
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise


def _unpack_member(
    tar: tarfile.TarFile,
    member: tarfile.TarInfo,
    target: Path,
    stop: threading.Event,
    free: Callable[[Path], int],
) -> None:
    # tarfile's own filter: no absolute name, none that leaves the target, no device.
    member = tarfile.data_filter(member, str(target))
    path = target / member.name
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    if not member.isreg():
        raise StartError(
            f"The archive contains {member.name}, which is a link, not a file; make it with tar --dereference."
        )
    if member.size > free(target) - _MARGIN_BYTES:
        raise StartError(
            f"The archive's file {member.name} of {format_bytes(member.size)} does not fit on the disk of {target}, where only "
            f"{format_bytes(max(free(target), 0))} are free; mount a larger disk there."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    source = tar.extractfile(member)
    if source is None:
        raise tarfile.ReadError(f"{member.name} has no content")
    with source, path.open("wb") as file:
        while chunk := source.read(_COPY_BYTES):
            if stop.is_set():
                raise Stopped
            file.write(chunk)
