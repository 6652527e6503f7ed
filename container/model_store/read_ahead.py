"""The weights of a model on this machine -> the page cache, while the engine is still being imported.

vLLM maps them into memory when its worker starts, and then waits for each page that is not in memory: with a cold disk or a
network file system, that is most of a large model's start.
"""

import itertools
import json
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from container.model_store import Kind, Located
from container.model_store.hub_files import MAPPED, Hub
from handler.checkpoint.weight_files import weights

log = logging.getLogger("lumi.model")

THREADS = 4  # one stream gets a fraction of the throughput of a network file system
WINDOW = 2**20  # bytes of one read
PROBE = 4096  # a page; if it is in memory, the window that begins with it is not read


Read = Callable[[int, int, bytearray], None]


def read_window(descriptor: int, offset: int, buffer: bytearray) -> None:
    """Read the window at `offset` of an open file, unless the page cache holds it. Raises OSError."""
    if not _is_cached(descriptor, offset):
        os.preadv(descriptor, [buffer], offset)


def read_ahead(located: Located, model: str, hub: Hub, limit: int, read: Read = read_window) -> threading.Thread:
    """Start to read the weights of `model`, the result of fetching `located`: those that vLLM maps, in its order.

    At most `limit` bytes, since what does not fit into memory evicts what was read before. The thread is a daemon: the end
    of the process does not wait for it.
    """

    def work() -> None:
        windows = _Shared(_windows(_weights_in(_directory_of(located, model, hub), hub.load_format), limit))
        threads = [threading.Thread(target=_read_all, args=(windows, read), daemon=True) for _ in range(THREADS)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()

    thread = threading.Thread(target=work, name="lumi-read-ahead", daemon=True)
    thread.start()
    return thread


class _Shared:
    """An iterator for several threads."""

    def __init__(self, items: Iterator[tuple[Path, int]]) -> None:
        self._items = items
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[tuple[Path, int]]:
        return self

    def __next__(self) -> tuple[Path, int]:
        with self._lock:
            return next(self._items)


def _directory_of(located: Located, model: str, hub: Hub) -> Path | None:
    if located.kind is not Kind.HUB:
        return Path(model)
    from container.model_store import hub_download  # noqa: PLC0415  # heavy

    try:
        return hub_download.cached_directory(model, hub)
    except (OSError, ValueError):  # the engine reports it
        return None


def _weights_in(model: Path | None, load_format: str) -> list[Path]:
    if model is None or load_format not in MAPPED:
        return []

    def weights_in_index(name: str) -> Iterable[str]:
        return set(json.loads((model / name).read_text())["weight_map"].values())

    try:
        names = [path.name for path in model.iterdir()]
        return [model / name for name in sorted(weights(names, load_format, weights_in_index))]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # the engine reports a broken index
        return []


def _windows(files: Sequence[Path], limit: int) -> Iterator[tuple[Path, int]]:
    for file in files:
        try:
            size = file.stat().st_size
        except OSError:
            continue
        yield from ((file, offset) for offset in range(0, min(size, limit), WINDOW))
        limit -= size
        if limit <= 0:
            return


def _read_all(windows: _Shared, read: Read) -> None:
    buffer = bytearray(WINDOW)
    for file, group in itertools.groupby(windows, key=lambda window: window[0]):
        try:
            descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
            try:
                for _, offset in group:
                    read(descriptor, offset, buffer)
            finally:
                os.close(descriptor)
        except OSError as error:
            log.debug("%s is not read ahead: %s", file, error)


def _is_cached(descriptor: int, offset: int) -> bool:
    try:
        return os.preadv(descriptor, [bytearray(PROBE)], offset, os.RWF_NOWAIT) > 0
    except OSError:  # it is not, or this file system does not support the flag
        return False
