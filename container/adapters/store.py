"""What a request names as an adapter's source -> a directory of our own with its files, which nobody else changes.

A client may not read this machine through us, and the engine reads an adapter's files again whenever it has no room to
keep them: it would not survive their change. So a local source must lie in a directory that is allowed, without a link on
the way, and is copied; one on S3 is downloaded to a place of its own.
"""

import asyncio
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

from container.model_store import fetch_adapter
from handler.adapters.files import CONFIG, MOST_CONFIG_BYTES, WEIGHTS
from handler.errors import InvalidRequest, ServerError, StartError

_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_STEP = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY
_COPY_BYTES = 2**20
_MARGIN_BYTES = 64 * 2**20  # left free for whoever else writes there


class AdapterStore:
    """Adapters in `home`, which is made when the first comes. `allowed` are the directories that local sources lie in;
    a relative source is relative to the first."""

    def __init__(
        self,
        home: Path,
        allowed: Sequence[Path],
        free: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    ) -> None:
        self._home = home
        self._allowed = tuple(allowed)
        self._free = free
        self._made: set[Path] = set()

    async def bring(self, source: str) -> Path:
        """The directory with the adapter's files. Raises InvalidRequest, or ServerError where they cannot be kept."""
        place = await asyncio.to_thread(self._place)
        try:
            if source.startswith("s3://"):
                return await self._downloaded(source, place)
            await asyncio.to_thread(self._copy, source, place)
        except BaseException:
            self.discard(place)
            raise
        return place

    def discard(self, directory: Path) -> None:
        """Remove what `bring` made."""
        place = self._home / directory.relative_to(self._home).parts[0]
        shutil.rmtree(place, ignore_errors=True)
        self._made.discard(place)

    def close(self) -> None:
        """Remove all of it, once no engine reads it."""
        for place in tuple(self._made):
            self.discard(place)

    def _place(self) -> Path:
        try:
            self._home.mkdir(parents=True, exist_ok=True, mode=0o700)
            place = Path(tempfile.mkdtemp(dir=self._home, prefix="adapter-"))
        except OSError as fault:
            raise ServerError(f"Adapters cannot be kept on this machine's disk ({fault.strerror}).") from fault
        self._made.add(place)
        return place

    async def _downloaded(self, source: str, place: Path) -> Path:
        try:
            return Path(await fetch_adapter(source, place))
        except StartError as fault:
            raise InvalidRequest(str(fault), param="src", code="adapter_unavailable") from fault

    def _copy(self, source: str, place: Path) -> None:
        root, steps = self._within(source)
        with ExitStack() as opened:
            try:
                directory = _opened(opened, os.open(root, _STEP))
                for step in steps:
                    directory = _opened(opened, os.open(step, _STEP | os.O_NOFOLLOW, dir_fd=directory))
            except OSError as fault:
                raise _unreadable(source, "it is no directory, or a link leads there") from fault
            for name in (CONFIG, WEIGHTS):
                self._copy_file(source, directory, name, place)

    def _copy_file(self, source: str, directory: int, name: str, place: Path) -> None:
        try:
            file = os.open(name, _READ, dir_fd=directory)
        except FileNotFoundError as fault:
            raise _unreadable(source, f"there is no {name} in it") from fault
        except OSError as fault:
            raise _unreadable(source, f"{name} is a link, or may not be read") from fault
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or (name == CONFIG and status.st_size > MOST_CONFIG_BYTES):
            os.close(file)
            raise _unreadable(source, f"{name} is no ordinary file")
        with os.fdopen(file, "rb") as original:
            if status.st_size + _MARGIN_BYTES > self._free(place):
                raise ServerError("There is no room on the disk for this adapter.")
            with (place / name).open("wb") as copy:
                shutil.copyfileobj(original, copy, _COPY_BYTES)

    def _within(self, source: str) -> tuple[Path, tuple[str, ...]]:
        """The allowed directory that `source` lies in, and the steps from there."""
        named = PurePosixPath(source.removeprefix("file://"))
        if "\0" not in source and ".." not in named.parts:
            for root in self._allowed:
                for spelt in (root, root.resolve()):
                    if named.is_relative_to(spelt):
                        return root.resolve(), named.relative_to(spelt).parts
            if not named.is_absolute() and self._allowed and "://" not in source:
                return self._allowed[0].resolve(), named.parts
        raise InvalidRequest(
            "Adapters are registered from s3:// addresses, and from the directories that the operator allows: the "
            "model's own, and OPTION_ADAPTER_DIRECTORIES.",
            param="src",
            code="adapter_forbidden",
        )


def _opened(stack: ExitStack, file: int) -> int:
    stack.callback(os.close, file)
    return file


def _unreadable(source: str, why: str) -> InvalidRequest:
    return InvalidRequest(
        f"The adapter {source[:200]!r} cannot be read: {why}.", param="src", code="adapter_unavailable"
    )
