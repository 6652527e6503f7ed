"""s3://bucket/prefix or s3://bucket/x.tar.gz -> a local directory: checked before, resumable, verified."""

import contextlib
import logging
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from container.model_store import directory
from container.model_store.address import Address
from container.model_store.amounts import Progress, amount
from container.model_store.archive import unpack
from container.model_store.cache_entry import Place
from container.model_store.journal import Journal
from container.model_store.partial_file import PartialFile
from container.model_store.s3 import Bucket, ObjectChanged, Remote, connection
from container.model_store.transfer import WORKERS, Damaged, Transfer
from handler.errors import StartError

log = logging.getLogger("lumi.model")

PASSES = 3  # over a model that changes while it is downloaded
_ROOM_FOR_UNPACKING = 2  # an archive and what is in it, which is at least as large

FreeBytes = Callable[[Path], int]


def free_bytes(path: Path) -> int:
    """What this process may still write there."""
    return shutil.disk_usage(path).free


def download(
    address: Address,
    cache: Path,
    say: Callable[[str], None],
    stop: threading.Event,
    *,
    free: FreeBytes = free_bytes,
    connect: Callable[[int], Any] = connection,
    configurations: tuple[str, ...] = directory.CONFIGURATIONS,
) -> Path:
    """The directory of the model, below `cache`; what is there of an earlier start is used. One of `configurations`
    makes it one.

    Raises StartError, or Stopped soon after `stop` is set.
    """
    say(f"looking at {address}")
    with contextlib.closing(Bucket(address, lambda: connect(WORKERS))) as bucket:
        place = Place(cache, address)
        with place.locked(say, stop):
            for _ in range(PASSES):
                objects = bucket.objects()
                if not address.is_archive:
                    directory.model_among([remote.name for remote in objects], f"The prefix {address}/", configurations)
                found = place.finished(objects)
                if found is not None:
                    log.info("%s is in %s already", address, found)
                    return directory.model_in(found, configurations)
                try:
                    pass_ = _Download(bucket, place, address, say, stop=stop, free=free, configurations=configurations)
                    return directory.model_in(pass_.run(objects), configurations)
                except (ObjectChanged, Damaged) as fault:
                    log.warning("%s changed while it was downloaded, or came damaged; looking at it again", fault)
    raise StartError(
        f"The model {address} changed each time it was downloaded, or came damaged; start again once its upload is done."
    )


def small_file(address: Address, name: str, *, connect: Callable[[int], Any] = connection) -> bytes | None:
    """The content of the file `name` directly below the prefix, or in the only directory there where the prefix itself
    is no model; None where there is none. Raises StartError."""
    if address.is_archive:
        return None
    with contextlib.closing(Bucket(address, lambda: connect(1))) as bucket:
        content = bucket.small_object(address.prefix + name)
        inner = directory.only_directory(bucket.top()) if content is None else None
        return content if inner is None else bucket.small_object(f"{address.prefix}{inner}{name}")


class _Download:
    """One pass over a listing."""

    def __init__(
        self,
        bucket: Bucket,
        place: Place,
        address: Address,
        say: Callable[[str], None],
        *,
        stop: threading.Event,
        free: FreeBytes,
        configurations: tuple[str, ...],
    ) -> None:
        self._configurations = configurations
        self._bucket = bucket
        self._place = place
        self._address = address
        self._say = say
        self._stop = stop
        self._free = free

    def run(self, objects: Sequence[Remote]) -> Path:
        """Where the model is, whole."""
        # Another content of this address has no use any more, and may hold the space that this one needs.
        self._place.clear(self._place.unfinished, self._place.journal)
        self._check_space(objects)
        self._fetch(objects)
        made = self._place.unfinished
        if self._address.is_archive:
            made = self._place.home / "unpacked"
            unpack(self._place.unfinished / objects[0].name, made, self._say, self._stop, self._free)
            directory.model_in(made, self._configurations)
        return self._place.finish(objects, made)

    def _fetch(self, objects: Sequence[Remote]) -> None:
        with contextlib.closing(Journal(self._place.journal)) as journal:
            # The large ones first: what is left at the end are crumbs, which all threads share.
            largest_first = sorted(objects, key=lambda remote: -remote.size)
            files = [PartialFile(remote, self._place.unfinished, journal) for remote in largest_first]
            already = sum(file.arrived for file in files)
            if already:
                log.info("%s of %s are there from an earlier start", amount(already), self._address)
            progress = Progress(self._say, sum(remote.size for remote in objects), already)
            progress.tell()
            transfer = Transfer(self._bucket, files, progress, self._stop)
            transfer.run()
            progress.tell()
            self._remove_unlisted_files({remote.name for remote in objects})
        told = f", {len(transfer.unverified)} by size alone: their ETags are no MD5s" if transfer.unverified else ""
        log.info("%s is here: %s files, verified%s", self._address, len(objects), told)

    def _check_space(self, objects: Sequence[Remote]) -> None:
        total = sum(remote.size for remote in objects) * (_ROOM_FOR_UNPACKING if self._address.is_archive else 1)
        needed = total - sum(self._place.allocated(remote.name) for remote in objects)
        free = self._free(self._place.home)
        if needed > free:
            raise StartError(
                f"The model {self._address} needs {amount(needed)} more in {self._place.home}, and {amount(max(free, 0))} "
                "are free; free some space, or mount a larger disk there."
            )

    def _remove_unlisted_files(self, names: set[str]) -> None:
        """Files of an earlier listing that the present one does not have."""
        for path in self._place.unfinished.rglob("*"):
            if path.is_file() and path.relative_to(self._place.unfinished).as_posix() not in names:
                path.unlink()
