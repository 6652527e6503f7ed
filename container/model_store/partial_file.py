"""One object on its way into a file: which ranges are missing, and whether what came is what was stored."""

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from container.model_store.background import Stopped
from container.model_store.etag import MIB, ETag, md5, part_bytes
from container.model_store.journal import Entry, Journal
from container.model_store.s3 import Remote, Stored

RANGE_BYTES = 16 * MIB  # what one request asks for, about
_LARGEST_UNIT = 2 * RANGE_BYTES
_READ_BYTES = MIB


@dataclass(frozen=True, slots=True)
class Range:
    start: int
    length: int


class PartialFile:
    """A file below `directory` that is made from `remote`. Ranges may be written by several threads at once."""

    def __init__(self, remote: Remote, directory: Path, journal: Journal) -> None:
        self.remote = remote
        self.path = directory / remote.name
        self._journal = journal
        self._etag = ETag.parsed(remote.etag)
        self._part = part_bytes(remote.size, self._etag.parts) if self._etag and self._etag.parts else None
        # MD5s are taken on the way of what the parts were, where a request can hold one: at the end they make the ETag.
        # Of other objects the file is read back, once.
        self._unit = self._part if self._part and self._part <= _LARGEST_UNIT else RANGE_BYTES
        self._step = self._unit * max(1, RANGE_BYTES // self._unit)
        self._hashes = self._unit == self._part or (self._part is None and remote.size <= self._unit)
        self._starts = range(0, remote.size, self._step)
        self._entry = self._resumed()
        self._lock = threading.Lock()
        self._claimed = False

    @property
    def arrived(self) -> int:
        """Bytes that are in the file already."""
        if self._entry is None:
            return 0
        return sum(min(self._step, self.remote.size - start) for start in self._entry.ranges)

    def open(self) -> list[Range]:
        """Make the file, with holes for what is missing; the ranges that are."""
        if self._entry is None:
            self.restart()
        there = self._entry.ranges if self._entry else {}
        missing = (start for start in self._starts if start not in there)
        return [Range(start, min(self._step, self.remote.size - start)) for start in missing]

    def restart(self) -> None:
        """Begin anew, in a new file: a thread that is late may still write to the one before."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        with self.path.open("wb") as file:
            file.truncate(self.remote.size)
        self._entry = self._journal.begin(self.remote.name, self.remote.etag, self.remote.size, self._unit)

    def write(self, wanted: Range, chunks: Iterator[bytes], count: Callable[[int], None]) -> int:
        """Put `chunks` into the file; how many bytes they were. `count` is told of each, and may raise."""
        digests = _Units(self._unit)
        file = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
        position = wanted.start
        try:
            for chunk in chunks:
                count(len(chunk))
                _write_all(file, chunk, position)
                if self._hashes:
                    digests.update(chunk)
                position += len(chunk)
        finally:
            os.close(file)
        if position == wanted.start + wanted.length:
            self._remember(wanted, digests.finished())
        return position - wanted.start

    def is_whole(self) -> bool:
        """Whether nothing is missing any more; True once only, for the thread that is to verify it."""
        with self._lock:
            whole = not self._claimed and self._entry is not None and len(self._entry.ranges) == len(self._starts)
            self._claimed = self._claimed or whole
            return whole

    def is_right(self, stored: Callable[[], Stored], stop: threading.Event) -> bool | None:
        """Whether the bytes are the stored ones by their ETag; None where it cannot tell.

        `stored` asks S3 how the object is stored, where the ETag is not what the bytes make.
        """
        if self._etag is None:
            return None
        if self._hashes and self._etag.fits(self._taken()):
            return True
        facts = stored()
        unit = (facts.part_bytes or self._part) if self._etag.parts else self.remote.size
        if not facts.hashed or unit is None:
            return None
        if self._hashes and unit in (self._part, self.remote.size):
            right = False
        else:
            right = self._etag.fits(self._digests(unit, stop))
        # Where S3 did not tell what the parts were, they may have been others than those that were tried.
        return right or (None if self._etag.parts and facts.part_bytes is None else False)

    def _taken(self) -> list[bytes]:
        ranges = self._entry.ranges if self._entry else {}
        return [digest for start in sorted(ranges) for digest in ranges[start]] or [md5().digest()]

    def _digests(self, unit: int, stop: threading.Event) -> list[bytes]:
        """MD5s of each `unit` bytes, read back from the file."""
        units = _Units(unit)
        with self.path.open("rb") as file:
            while chunk := file.read(_READ_BYTES):
                if stop.is_set():
                    raise Stopped
                units.update(chunk)
        return units.finished()

    def _remember(self, wanted: Range, digests: list[bytes]) -> None:
        self._journal.arrived(self.remote.name, wanted.start, digests)
        with self._lock:
            if self._entry is not None:
                self._entry.ranges[wanted.start] = digests

    def _resumed(self) -> Entry | None:
        """What the journal knows of just this object, where the file is still there."""
        entry = self._journal.entries.get(self.remote.name)
        known = entry is not None and (entry.etag, entry.size) == (self.remote.etag, self.remote.size)
        if not known or entry is None or entry.unit != self._unit:
            return None
        try:
            return entry if self.path.stat().st_size == self.remote.size else None
        except OSError:
            return None


class _Units:
    """The MD5 of each `unit` bytes of what streams by."""

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

    def finished(self) -> list[bytes]:
        if self._room < self._unit:
            self._next()
        return self._digests

    def _next(self) -> None:
        self._digests.append(self._md5.digest())
        self._md5, self._room = md5(), self._unit


def _write_all(file: int, chunk: bytes, position: int) -> None:
    view = memoryview(chunk)
    while view:
        written = os.pwrite(file, view, position)
        view, position = view[written:], position + written
