"""A file that is downloaded in ranges and verified by its ETag."""

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from container.model_store.background import Stopped
from container.model_store.etag import MIB, ETag, md5, part_bytes
from container.model_store.s3 import Remote, Stored

RANGE_BYTES = 16 * MIB  # of one request, about
_MAX_UNIT_BYTES = 2 * RANGE_BYTES
_READ_BYTES = MIB


@dataclass(frozen=True, slots=True)
class Range:
    start: int
    length: int


class PartialFile:
    """The file `path`, which appears when all of `remote` is in it and verified. Threads may write its ranges at once."""

    def __init__(self, remote: Remote, path: Path) -> None:
        self.remote = remote
        self.path = path
        self._partial = path.with_name(f"{path.name}.part")
        self._etag = ETag.parse(remote.etag)
        self._part = part_bytes(remote.size, self._etag.parts) if self._etag and self._etag.parts else None
        # Where a request can hold a part, the MD5s of the parts are computed as the bytes arrive: they make the ETag.
        # Other files are read again for that.
        self._unit = self._part if self._part and self._part <= _MAX_UNIT_BYTES else RANGE_BYTES
        self._step = self._unit * max(1, RANGE_BYTES // self._unit)
        self._hashes = self._unit == self._part or (self._part is None and remote.size <= self._unit)
        self._starts = range(0, remote.size, self._step)
        self._digests: dict[int, list[bytes]] = {}
        self._lock = threading.Lock()
        self._claimed = False

    @property
    def is_complete(self) -> bool:
        """Whether an earlier start has downloaded and verified it."""
        return self.path.exists()

    def create(self) -> list[Range]:
        """Make the file on the disk, full of holes, and return the ranges of it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.discard()  # a late thread of another attempt may still write to the file before
        with self._partial.open("wb") as file:
            file.truncate(self.remote.size)
        return [Range(start, min(self._step, self.remote.size - start)) for start in self._starts]

    def discard(self) -> None:
        """Remove what has arrived."""
        self._partial.unlink(missing_ok=True)

    def complete(self) -> None:
        """Make it appear under its name, once it is verified."""
        self._partial.rename(self.path)

    def write(self, wanted: Range, chunks: Iterator[bytes], count: Callable[[int], None]) -> None:
        """Write `chunks`, which are all of the range. `count` gets the size of each first, and may raise."""
        units = _Units(self._unit)
        file = os.open(self._partial, os.O_WRONLY | os.O_CLOEXEC)
        position = wanted.start
        try:
            for chunk in chunks:
                count(len(chunk))
                _write_all(file, chunk, position)
                if self._hashes:
                    units.update(chunk)
                position += len(chunk)
        finally:
            os.close(file)
        with self._lock:
            self._digests[wanted.start] = units.digests()

    def claim_verification(self) -> bool:
        """Whether no range is missing any more; True only once, for the thread that verifies the file."""
        with self._lock:
            whole = not self._claimed and len(self._digests) == len(self._starts)
            self._claimed = self._claimed or whole
            return whole

    def matches_etag(self, stored: Callable[[], Stored], stop: threading.Event) -> bool | None:
        """Whether the bytes are the stored ones; None where the ETag does not tell.

        `stored` asks S3 how the object is stored, if the ETag differs from that of the bytes.
        """
        if self._etag is None:
            return None
        if self._hashes and self._etag.fits(self._arrived_digests()):
            return True
        facts = stored()
        unit = (facts.part_bytes or self._part) if self._etag.parts else self.remote.size
        if not facts.hashed or unit is None:
            return None
        if self._hashes and unit in (self._part, self.remote.size):
            matches = False
        else:
            matches = self._etag.fits(self._read_digests(unit, stop))
        # Without a size from S3, the parts may have been of another size than the one that was tried.
        return matches or (None if self._etag.parts and facts.part_bytes is None else False)

    def _arrived_digests(self) -> list[bytes]:
        return [digest for start in sorted(self._digests) for digest in self._digests[start]] or [md5().digest()]

    def _read_digests(self, unit: int, stop: threading.Event) -> list[bytes]:
        """MD5s of each `unit` bytes, read from the file."""
        units = _Units(unit)
        with self._partial.open("rb") as file:
            while chunk := file.read(_READ_BYTES):
                if stop.is_set():
                    raise Stopped
                units.update(chunk)
        return units.digests()


class _Units:
    """The MD5 of each `unit` bytes of a stream."""

    def __init__(self, unit: int) -> None:
        self._unit = unit
        self._room = unit
        self._md5 = md5()
        self._digests: list[bytes] = []

    def update(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        while view:
            piece, view = view[: self._room], view[self._room :]
            self._md5.update(piece)
            self._room -= len(piece)
            if not self._room:
                self._next()

    def digests(self) -> list[bytes]:
        """Those of all units, the last of which may be shorter."""
        if self._room < self._unit:
            self._next()
        return self._digests

    def _next(self) -> None:
        self._digests.append(self._md5.digest())
        self._md5, self._room = md5(), self._unit


def _write_all(file: int, chunk: bytes, position: int) -> None:
    view = memoryview(chunk)
    while view:
        count = os.pwrite(file, view, position)
        view, position = view[count:], position + count
