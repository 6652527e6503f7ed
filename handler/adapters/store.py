"""The source of an adapter that a request names -> a private directory with a copy of its files.

A client must not read this machine's files through the server, and the engine reads an adapter's files again whenever it
has no memory left to keep them: it would not survive a change. So a local source must be in an allowed directory, with no
symbolic link on the way, and is copied; a source on S3 is downloaded to a directory of its own.
"""

import asyncio
import os
import shutil
import stat
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

from handler.adapters.files import CONFIG, MAX_CONFIG_BYTES, WEIGHTS
from handler.errors import InvalidRequest, ServerError, StartError

Download = Callable[[str, Path], Awaitable[str | Path]]
"""Downloads an adapter from an s3:// address into a directory; returns where its files are. Raises StartError."""

CODE = "model.py"  # an adapter's formatters, which few have
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_STEP = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY
_COPY_BYTES = 2**20
_MARGIN_BYTES = 64 * 2**20  # left free for other writers on the disk


class AdapterStore:
    """The files of adapters below `home`, which is created with the first. Local sources must be in one of the `allowed`
    directories; a relative source is relative to the first of them."""

    def __init__(
        self,
        home: Path,
        allowed: Sequence[Path],
        download: Download,
        free: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    ) -> None:
        self._home = home
        self._allowed = tuple(allowed)
        self._download = download
        self._free = free
        self._directories: set[Path] = set()

    async def fetch(self, source: str) -> Path:
        """A directory with the adapter's files, which no one changes. Raises InvalidRequest, or ServerError where they
        cannot be stored."""
        directory = await asyncio.to_thread(self._make_directory)
        try:
            if source.startswith("s3://"):
                return Path(await self._download(source, directory))
            await asyncio.to_thread(self._copy, source, directory)
        except StartError as fault:
            self.discard(directory)
            raise InvalidRequest(str(fault), param="src", code="adapter_unavailable") from fault
        except BaseException:
            self.discard(directory)
            raise
        return directory

    def discard(self, directory: Path) -> None:
        """Remove a directory that `fetch` returned."""
        made = self._home / directory.relative_to(self._home).parts[0]
        shutil.rmtree(made, ignore_errors=True)
        self._directories.discard(made)

    def close(self) -> None:
        """Remove all directories, once no engine reads them."""
        for directory in tuple(self._directories):
            self.discard(directory)

    def _make_directory(self) -> Path:
        try:
            self._home.mkdir(parents=True, exist_ok=True, mode=0o700)
            directory = Path(tempfile.mkdtemp(dir=self._home, prefix="adapter-"))
        except OSError as fault:
            raise ServerError(f"The server cannot store adapters on its disk ({fault.strerror}).") from fault
        self._directories.add(directory)
        return directory

    def _copy(self, source: str, target: Path) -> None:
        root, steps = self._split(source)
        with ExitStack() as stack:
            try:
                directory = _open(stack, root, _STEP)
                for step in steps:
                    directory = _open(stack, step, _STEP | os.O_NOFOLLOW, directory)
            except OSError as fault:
                raise _unreadable(source, "it is not a directory, or its path contains a symbolic link") from fault
            for name in (CONFIG, WEIGHTS, CODE):
                try:
                    file = _open(stack, name, _READ, directory)
                except FileNotFoundError as fault:
                    if name == CODE:
                        continue
                    raise _unreadable(source, f"it does not contain {name}") from fault
                except OSError as fault:
                    raise _unreadable(source, f"{name} is a symbolic link or is not readable") from fault
                self._copy_file(source, file, target / name)

    def _copy_file(self, source: str, file: int, target: Path) -> None:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise _unreadable(source, f"{target.name} is not a regular file")
        if target.name == CONFIG and status.st_size > MAX_CONFIG_BYTES:
            raise _unreadable(source, f"{target.name} has more than {MAX_CONFIG_BYTES} bytes")
        if status.st_size + _MARGIN_BYTES > self._free(target.parent):
            raise ServerError("There is not enough disk space for this adapter.")
        with os.fdopen(file, "rb", closefd=False) as original, target.open("wb") as copy:
            shutil.copyfileobj(original, copy, _COPY_BYTES)

    def _split(self, source: str) -> tuple[Path, tuple[str, ...]]:
        """The allowed directory that contains `source`, and the steps from there. Raises InvalidRequest."""
        path = PurePosixPath(source.removeprefix("file://"))
        if "\0" not in source and ".." not in path.parts:
            for root in self._allowed:
                for spelling in (root, root.resolve()):
                    if path.is_relative_to(spelling):
                        return root.resolve(), path.relative_to(spelling).parts
            if not path.is_absolute() and self._allowed and "://" not in source:
                return self._allowed[0].resolve(), path.parts
        raise InvalidRequest(
            "The source of an adapter must be an s3:// address or a directory that the operator allows: one in the "
            "model's directory or in OPTION_ADAPTER_DIRECTORIES.",
            param="src",
            code="adapter_forbidden",
        )


def _open(stack: ExitStack, path: str | Path, flags: int, directory: int | None = None) -> int:
    file = os.open(path, flags, dir_fd=directory)
    stack.callback(os.close, file)
    return file


def _unreadable(source: str, why: str) -> InvalidRequest:
    return InvalidRequest(
        f"The adapter {source[:200]!r} cannot be read: {why}.", param="src", code="adapter_unavailable"
    )
