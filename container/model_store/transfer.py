"""The objects of a listing -> files on the disk, verified, by several threads at once."""

import threading
from collections.abc import Iterator, Sequence

from container.model_store.background import Stopped
from container.model_store.partial_file import PartialFile, Range
from container.model_store.progress import SECONDS, Progress
from container.model_store.s3 import Bucket

WORKERS = 10
END_SECONDS = 2.0  # for threads to end; one that hangs in a read is a daemon, and writes nothing more


class Damaged(Exception):
    """The bytes of an object do not match its ETag."""


class Transfer:
    """One run over `files`. `unverified` names those of which only the size was checked."""

    def __init__(self, bucket: Bucket, files: Sequence[PartialFile], progress: Progress, stop: threading.Event) -> None:
        self.unverified: list[str] = []
        self._bucket = bucket
        self._files = files
        self._progress = progress
        self._stop = stop
        self._over = threading.Event()
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self._work = self._ranges()

    def run(self) -> None:
        """Raises the first error of a worker: ObjectChanged, Damaged, StartError; Stopped when `stop` is set."""
        workers = [threading.Thread(target=self._run, name=f"lumi-model-{i}", daemon=True) for i in range(WORKERS)]
        for worker in workers:
            worker.start()
        try:
            for worker in workers:
                while worker.is_alive() and not self._is_over():
                    worker.join(SECONDS)
                    if worker.is_alive() and not self._is_over():
                        self._progress.report()
        finally:
            self._over.set()
        for worker in workers:
            worker.join(END_SECONDS)
        if self._stop.is_set():
            raise Stopped
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while (task := self._next()) is not None:
                file, wanted = task
                if wanted is not None:
                    chunks = self._bucket.read(file.remote, wanted.start, wanted.length, self._wait)
                    file.write(wanted, chunks, self._count)
                if file.claim_verification():
                    self._verify(file)
        except Stopped:
            pass
        except BaseException as error:  # noqa: BLE001  # raised again in the thread that waits
            self._error = self._error or error
            self._over.set()

    def _next(self) -> tuple[PartialFile, Range | None] | None:
        with self._lock:
            return None if self._is_over() else next(self._work, None)

    def _ranges(self) -> Iterator[tuple[PartialFile, Range | None]]:
        for file in self._files:
            for wanted in file.create() or (None,):  # an empty file has no range
                yield file, wanted

    def _verify(self, file: PartialFile) -> None:
        matches = file.matches_etag(lambda: self._bucket.storage_of(file.remote), self._over)
        if matches is False:
            file.discard()
            raise Damaged(file.remote.name)
        if matches is None:
            self.unverified.append(file.remote.name)
        file.complete()

    def _is_over(self) -> bool:
        return self._over.is_set() or self._stop.is_set()

    def _count(self, count: int) -> None:
        if self._is_over():
            raise Stopped  # a late thread writes nothing more
        self._progress.add(count)

    def _wait(self, seconds: float) -> None:
        if self._over.wait(seconds) or self._is_over():
            raise Stopped
