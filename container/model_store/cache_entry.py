"""A model's directory in the cache: a lock, the files that have been downloaded, and the complete model."""

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
from container.model_store.s3 import Remote
from handler.errors import StartError

log = logging.getLogger("lumi.model")

LOCK_SECONDS = 0.5  # between two attempts to take the lock


class CacheEntry:
    """The directory of one address below `cache`:

    lock                    held by the process that downloads
    unfinished/<digest>/    one file each, and one that arrives ends in .part; the digest is of its boot, name, size and ETag
    model-<digest>/         complete; the digest is of all names, sizes and ETags, so other contents have another name
    model-<digest>.json
    """

    def __init__(self, cache: Path, address: Address) -> None:
        self.home = cache / address.directory
        self._unfinished = self.home / "unfinished"
        self._address = address

    @contextlib.contextmanager
    def lock(self, report: Callable[[str], None], stop: threading.Event) -> Iterator[None]:
        """Hold the lock against all processes on this disk. Raises StartError if it cannot be written to, and Stopped."""
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            file = os.open(self.home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StartError(
                f"The model {self._address} cannot be stored in {self.home} ({error.strerror}); give this process write "
                "access, or mount a disk."
            ) from error
        try:
            self._acquire(file, report, stop)
            yield
        except OSError as error:
            cure = "free some space, or mount a larger disk" if error.errno == errno.ENOSPC else "check the disk"
            where = error.filename or self.home
            raise StartError(f"The model cannot be written to {where} ({error.strerror}); {cure}.") from error
        finally:
            os.close(file)

    def find_complete(self, objects: Sequence[Remote]) -> Path | None:
        """The directory that holds exactly these objects, or None."""
        directory = self._model(objects)
        try:
            manifest = json.loads(self._manifest(directory).read_text())
            complete = manifest["boot"] == _boot_id() and all(
                (directory / name).stat().st_size == size for name, size in manifest["files"]
            )
        except (OSError, ValueError, KeyError):
            return None
        return directory if complete else None

    def file(self, remote: Remote) -> Path:
        """Where to download this object to."""
        identity = json.dumps((_boot_id(), remote.name, remote.size, remote.etag))
        return self._unfinished / hashlib.sha256(identity.encode()).hexdigest()[:32] / Path(remote.name).name

    def remove_stale(self, objects: Sequence[Remote]) -> None:
        """Remove everything but the complete files of these objects, since other contents may take the space they need."""
        self._remove_all_but(self.home, {"lock", self._unfinished.name})
        if self._unfinished.exists():
            self._remove_all_but(
                self._unfinished, {file.parent.name for file in map(self.file, objects) if file.exists()}
            )

    def assemble(self, objects: Sequence[Remote]) -> Path:
        """A directory with all the files under their own names."""
        assembled = self.home / "assembled"
        for remote in objects:
            path = assembled / remote.name
            path.parent.mkdir(parents=True, exist_ok=True)
            self.file(remote).rename(path)
        return assembled

    def finish(self, objects: Sequence[Remote], content: Path) -> Path:
        """Make the directory `content` the model of these objects, and remove what was needed to make it."""
        directory = self._model(objects)
        manifest = self._manifest(directory)
        record = {
            "address": str(self._address),
            "boot": _boot_id(),
            "objects": [(remote.name, remote.size, remote.etag) for remote in objects],
            "files": [(path.relative_to(content).as_posix(), path.stat().st_size) for path in _files(content)],
        }
        manifest.write_text(json.dumps(record))
        if directory.exists():
            shutil.rmtree(directory)
        content.rename(directory)
        self._remove_all_but(self.home, {"lock", directory.name, manifest.name})
        return directory

    def _remove_all_but(self, directory: Path, names: set[str]) -> None:
        for path in directory.iterdir():
            if path.name not in names:
                log.debug("removing %s", path)
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _acquire(self, file: int, report: Callable[[str], None], stop: threading.Event) -> None:
        reported = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not reported:
                    reported = True
                    log.info("another process is downloading %s; waiting for it", self._address)
                    report(f"waiting for another process that downloads {self._address}")
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


def _boot_id() -> str:
    """The boot of the machine: what a process wrote outlives the process, but perhaps not a crash of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"
