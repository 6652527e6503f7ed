"""The objects of a listing -> files in a directory, by several threads at once, each range tried several times."""

import logging
import threading
from collections.abc import Iterator, Sequence

from container.model_store.amounts import SECONDS, Progress
from container.model_store.background import Stopped
from container.model_store.partial_file import PartialFile, Range
from container.model_store.s3 import Bucket, Interrupted
from handler.errors import StartError

log = logging.getLogger("lumi.model")

WORKERS = 10
TRIES = 6  # of each range; the waits between them double from one second
END_SECONDS = 2.0  # for threads to notice that it is over; one that hangs in a read does no harm


class Damaged(Exception):
    """An object did not arrive as its ETag says."""


class Transfer:
    """One run over `files`. `unverified` is what only the size was checked of."""

    def __init__(self, bucket: Bucket, files: Sequence[PartialFile], progress: Progress, stop: threading.Event) -> None:
        self.unverified: list[str] = []
        self._bucket = bucket
        self._files = files
        self._progress = progress
        self._stop = stop
        self._over = threading.Event()
        self._fault: BaseException | None = None
        self._lock = threading.Lock()
        self._work = self._ranges()

    def run(self) -> None:
        """Raises what a worker met: ObjectChanged, Damaged, StartError; Stopped when `stop` is set."""
        workers = [threading.Thread(target=self._run, name=f"lumi-model-{i}", daemon=True) for i in range(WORKERS)]
        for worker in workers:
            worker.start()
        try:
            for worker in workers:
                while worker.is_alive() and not self._is_over():
                    worker.join(SECONDS)
                    if worker.is_alive() and not self._is_over():
                        self._progress.tell()
        finally:
            self._over.set()
        for worker in workers:
            worker.join(END_SECONDS)
        if self._stop.is_set():
            raise Stopped
        if self._fault is not None:
            raise self._fault

    def _run(self) -> None:
        try:
            while (task := self._next()) is not None:
                file, wanted = task
                if wanted is not None:
                    self._fetch(file, wanted)
                if file.is_whole():
                    self._verify(file)
        except Stopped:
            pass
        except BaseException as fault:  # noqa: BLE001  # carried over to the thread that waits, whatever it is
            self._fault = self._fault or fault
            self._over.set()

    def _next(self) -> tuple[PartialFile, Range | None] | None:
        with self._lock:
            return None if self._is_over() else next(self._work, None)

    def _ranges(self) -> Iterator[tuple[PartialFile, Range | None]]:
        for file in self._files:
            missing = file.open()
            if not missing:
                yield file, None
            for wanted in missing:
                yield file, wanted

    def _fetch(self, file: PartialFile, wanted: Range) -> None:
        for attempt in range(TRIES):
            came = _Counted(self._progress, self)
            try:
                got = file.write(wanted, self._bucket.read(file.remote, wanted.start, wanted.length), came.add)
                if got == wanted.length:
                    return
                fault: Exception = Interrupted(f"{got} of {wanted.length} bytes came")
            except Interrupted as interrupted:
                fault = interrupted
            came.take_back()
            log.warning("%s from byte %d: %s; trying again", file.remote.name, wanted.start, fault)
            if attempt + 1 < TRIES and self._over.wait(2**attempt):
                raise Stopped
        raise StartError(
            f"The model's file {file.remote.name} could not be downloaded in {TRIES} attempts: {fault}. "
            "Start again to go on from here."
        )

    def _verify(self, file: PartialFile) -> None:
        try:
            right = file.is_right(lambda: self._bucket.stored(file.remote), self._over)
        except Interrupted:
            right = None
        if right is False:
            file.restart()
            raise Damaged(file.remote.name)
        if right is None:
            self.unverified.append(file.remote.name)

    def _is_over(self) -> bool:
        return self._over.is_set() or self._stop.is_set()

    def stay(self) -> None:
        """Raises Stopped once it is over: a thread that is late writes no more."""
        if self._is_over():
            raise Stopped


class _Counted:
    """The bytes of one attempt."""

    def __init__(self, progress: Progress, transfer: Transfer) -> None:
        self._progress = progress
        self._transfer = transfer
        self._count = 0

    def add(self, count: int) -> None:
        self._transfer.stay()
        self._count += count
        self._progress.add(count)

    def take_back(self) -> None:
        self._progress.add(-self._count)
