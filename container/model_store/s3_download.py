"""s3://bucket/prefix or s3://bucket/x.tar.gz -> a local directory: checked before, verified, resumed file by file."""

import contextlib
import logging
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from container.model_store import directory
from container.model_store.address import Address
from container.model_store.archive import unpack
from container.model_store.cache_entry import CacheEntry
from container.model_store.partial_file import PartialFile
from container.model_store.progress import Progress, format_bytes
from container.model_store.s3 import Bucket, ObjectChanged, Remote, connection
from container.model_store.transfer import WORKERS, Damaged, Transfer
from handler.errors import StartError

log = logging.getLogger("lumi.model")

PASSES = 3  # over a model that changes while it is downloaded
_UNPACKING_FACTOR = 2  # an archive and its content, which is at least as large

FreeBytes = Callable[[Path], int]


def free_bytes(path: Path) -> int:
    """What this process may still write there."""
    return shutil.disk_usage(path).free


def download(
    address: Address,
    cache: Path,
    report: Callable[[str], None],
    stop: threading.Event,
    *,
    free: FreeBytes = free_bytes,
    connect: Callable[[int], Any] = connection,
    configurations: tuple[str, ...] = directory.CONFIGURATIONS,
) -> Path:
    """The directory of the model, below `cache`; files of an earlier start are used. A model has one of `configurations`.

    Raises StartError, or Stopped soon after `stop` is set.
    """
    report(f"looking at {address}")
    with contextlib.closing(Bucket(address, lambda: connect(WORKERS))) as bucket:
        entry = CacheEntry(cache, address)
        with entry.lock(report, stop):
            for _ in range(PASSES):
                objects = bucket.objects()
                if not address.is_archive:
                    directory.model_among([remote.name for remote in objects], f"The prefix {address}/", configurations)
                complete = entry.find_complete(objects)
                if complete is not None:
                    log.info("%s is already in %s", address, complete)
                    return directory.model_in(complete, configurations)
                try:
                    one_pass = _Pass(bucket, entry, address, report, stop, free, configurations)
                    return directory.model_in(one_pass.run(objects), configurations)
                except (ObjectChanged, Damaged) as error:
                    log.warning("%s changed during the download, or arrived damaged; trying again", error)
    raise StartError(
        f"The model {address} changed each time it was downloaded, or arrived damaged; start again when its upload is "
        "complete."
    )


def small_file(address: Address, name: str, *, connect: Callable[[int], Any] = connection) -> bytes | None:
    """The content of the file `name` directly below the prefix, or in the only directory there if the prefix itself
    is not a model; None if there is none. Raises StartError."""
    if address.is_archive:
        return None
    with contextlib.closing(Bucket(address, lambda: connect(1))) as bucket:
        content = bucket.small_object(address.prefix + name)
        inner = directory.only_directory(bucket.top()) if content is None else None
        return content if inner is None else bucket.small_object(f"{address.prefix}{inner}{name}")


@dataclass(frozen=True, slots=True)
class _Pass:
    """One pass over a listing."""

    bucket: Bucket
    entry: CacheEntry
    address: Address
    report: Callable[[str], None]
    stop: threading.Event
    free: FreeBytes
    configurations: tuple[str, ...]

    def run(self, objects: Sequence[Remote]) -> Path:
        """The directory of the complete model."""
        self.entry.remove_stale(objects)
        # The large ones first, so that the threads share small ones at the end.
        files = [PartialFile(each, self.entry.file(each)) for each in sorted(objects, key=lambda each: -each.size)]
        already = sum(file.remote.size for file in files if file.is_complete)
        total = sum(remote.size for remote in objects)
        self._check_space(total * (_UNPACKING_FACTOR if self.address.is_archive else 1) - already)
        self._fetch([file for file in files if not file.is_complete], total, already)
        if not self.address.is_archive:
            return self.entry.finish(objects, self.entry.assemble(objects))
        unpacked = self.entry.home / "unpacked"
        unpack(files[0].path, unpacked, self.report, self.stop, self.free)
        directory.model_in(unpacked, self.configurations)
        return self.entry.finish(objects, unpacked)

    def _fetch(self, files: Sequence[PartialFile], total: int, already: int) -> None:
        if already:
            log.info("%s of %s are on the disk from an earlier start", format_bytes(already), self.address)
        progress = Progress(self.report, total, already)
        progress.report()
        transfer = Transfer(self.bucket, files, progress, self.stop)
        transfer.run()
        progress.report()
        by_size = len(transfer.unverified)
        suffix = f", {by_size} by size alone: their ETags are not MD5s" if by_size else ""
        log.info("downloaded %s: %s files, verified%s", self.address, len(files), suffix)

    def _check_space(self, needed: int) -> None:
        free = self.free(self.entry.home)
        if needed > free:
            raise StartError(
                f"The model {self.address} needs {format_bytes(needed)} more in {self.entry.home}, but only "
                f"{format_bytes(max(free, 0))} are free; free some space, or mount a larger disk there."
            )
