"""Where on the disk a model that is downloaded has its place: a lock, what is unfinished, and what is whole."""

import contextlib
import errno
import fcntl
import hashlib
import json
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from container.model_store.address import Address
from container.model_store.background import Stopped
from container.model_store.journal import boot
from container.model_store.s3 import Remote
from handler.errors import StartError

log = logging.getLogger("lumi.model")

LOCK_SECONDS = 0.5  # between two looks at who holds the lock


class Place:
    """The directory of one address below `cache`:

    lock              held by the process that downloads
    journal           what of `unfinished` has arrived
    unfinished/       becomes model-… in one step, when all is there and verified
    model-<digest>/   whole; the digest is of names, sizes and ETags, so another content has another name
    model-<digest>.json
    """

    def __init__(self, cache: Path, address: Address) -> None:
        self.home = cache / address.directory
        self.unfinished = self.home / "unfinished"
        self.journal = self.home / "journal"
        self._address = address

    @contextlib.contextmanager
    def locked(self, say: Callable[[str], None], stop: threading.Event) -> Iterator[None]:
        """SingleNode among all processes on this disk. Raises StartError where nothing can be written, and Stopped."""
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            file = os.open(self.home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as fault:
            raise StartError(
                f"The model {self._address} cannot be kept in {self.home} ({fault.strerror}); let this process write "
                "there, or mount a disk."
            ) from fault
        try:
            self._wait(file, say, stop)
            yield
        except OSError as fault:
            cure = "free some space, or mount a larger disk" if fault.errno == errno.ENOSPC else "see to the disk"
            where = fault.filename or self.home
            raise StartError(f"The model cannot be written to {where} ({fault.strerror}); {cure}.") from fault
        finally:
            os.close(file)

    def finished(self, objects: Sequence[Remote]) -> Path | None:
        """The directory that holds just these objects, or None."""
        directory = self._model(objects)
        try:
            manifest = json.loads(self._manifest(directory).read_text())
            whole = manifest["boot"] == boot() and all(
                (directory / name).stat().st_size == size for name, size in manifest["files"]
            )
        except (OSError, ValueError, KeyError):
            return None
        return directory if whole else None

    def finish(self, objects: Sequence[Remote], made: Path) -> Path:
        """Make the directory `made` the model that these objects are, and clear what was needed on the way."""
        directory = self._model(objects)
        files = [(path.relative_to(made).as_posix(), path.stat().st_size) for path in _files(made)]
        record = {
            "address": str(self._address),
            "boot": boot(),
            "objects": [(remote.name, remote.size, remote.etag) for remote in objects],
            "files": files,
        }
        self._manifest(directory).write_text(json.dumps(record))
        if directory.exists():
            shutil.rmtree(directory)
        made.rename(directory)
        self.clear(directory)
        return directory

    def clear(self, *kept: Path) -> None:
        """Remove all but `kept`, with its manifest, and the lock."""
        names = {"lock", *(path.name for path in kept), *(self._manifest(path).name for path in kept)}
        for path in self.home.iterdir():
            if path.name not in names:
                log.debug("removing %s", path)
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def allocated(self, name: str) -> int:
        """Bytes on the disk that the unfinished file `name` has already; holes do not count."""
        try:
            return (self.unfinished / name).stat().st_blocks * 512
        except OSError:
            return 0

    def _wait(self, file: int, say: Callable[[str], None], stop: threading.Event) -> None:
        told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not told:
                    told = True
                    log.info("another process is downloading %s; waiting for it", self._address)
                    say(f"waiting for another process that downloads {self._address}")
                if stop.wait(LOCK_SECONDS):
                    raise Stopped from None
            else:
                return

    def _model(self, objects: Sequence[Remote]) -> Path:
        listing = json.dumps(sorted((remote.name, remote.size, remote.etag) for remote in objects))
        return self.home / f"model-{hashlib.sha256(listing.encode()).hexdigest()[:12]}"

    @staticmethod
    def _manifest(directory: Path) -> Path:
        return directory.with_name(f"{directory.name}.json")


def _files(directory: Path) -> Iterator[Path]:
    return (path for path in sorted(directory.rglob("*")) if path.is_file())
