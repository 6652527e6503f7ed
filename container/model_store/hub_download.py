"""An id on the Hugging Face hub -> the files that vLLM reads, in the hub's own cache.

huggingface_hub runs in a process of its own, because its threads cannot be stopped before their files are complete. The next
start resumes what it has begun. It reads HF_ENDPOINT, HF_HUB_OFFLINE, HF_HUB_CACHE and HF_HOME itself.
"""

import errno
import glob
import json
import logging
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from container.model_store import directory
from container.model_store.background import Stopped
from container.model_store.hub_files import Hub, wanted_files
from container.model_store.progress import SECONDS, Progress, format_bytes
from handler.errors import StartError

log = logging.getLogger("lumi.model")

_POLL_SECONDS = 0.2
_SET_TOKEN = "set HF_TOKEN to a token whose owner may read it"  # noqa: S105  # a sentence


def download(repository: str, hub: Hub, report: Callable[[str], None], stop: threading.Event) -> None:
    """Raises StartError with the cure, or Stopped."""
    report(f"looking at {repository} on the Hugging Face hub")
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_run, args=(repository, hub, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        while True:
            if ours.poll(_POLL_SECONDS):
                kind, text = ours.recv()
                if kind == "end":
                    return
                if kind == "error":
                    raise StartError(text)
                log.log(logging.WARNING if kind == "warning" else logging.INFO, text)
                report(text)
            elif stop.is_set():
                raise Stopped
    except EOFError:
        raise StartError(
            f"The download of {repository} ended without an error; its process may have run out of memory."
        ) from None
    finally:
        process.kill()
        process.join()
        process.close()
        ours.close()


def cached_directory(repository: str, hub: Hub) -> Path:
    """The directory in the hub's cache with the downloaded files."""
    import huggingface_hub  # noqa: PLC0415  # heavy

    found = huggingface_hub.snapshot_download(
        repository,
        revision=hub.revision,
        cache_dir=hub.download_dir,
        allow_patterns=list(hub.configurations),  # not all of the repository is cached
        local_files_only=True,
    )
    return Path(found)


def _run(repository: str, hub: Hub, connection: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and ends this process

    def send(text: str, kind: str = "progress") -> None:
        try:
            connection.send((kind, text))
        except BrokenPipeError:
            os._exit(1)  # the parent is gone

    try:
        _Repository(repository, hub, send).download()
        send("", "end")
    except StartError as error:
        send(str(error), "error")
    except Exception as error:  # noqa: BLE001  # described, whatever it is
        send(describe_error(error, repository, hub.revision), "error")


class _Repository:
    """One repository at one revision, in the process that downloads it."""

    def __init__(self, repository: str, hub: Hub, send: Callable[..., None]) -> None:
        # Heavy, and only this process needs it.
        import huggingface_hub  # noqa: PLC0415
        from huggingface_hub import constants  # noqa: PLC0415
        from huggingface_hub.utils.tqdm import disable_progress_bars  # noqa: PLC0415

        disable_progress_bars()
        self._library: Any = huggingface_hub
        self._offline = constants.is_offline_mode()
        self._cache = Path(hub.download_dir or constants.HF_HUB_CACHE).expanduser()
        self._id = repository
        self._hub = hub
        self._send = send
        self._options: dict[str, Any] = {"repo_id": repository, "revision": hub.revision, "token": hub.token}

    def download(self) -> None:
        if self._offline:
            self._check_cached()
            return
        import httpx2  # noqa: PLC0415  # huggingface_hub's HTTP client

        try:
            # First, because it does not retry for half a minute when the hub does not respond.
            self._library.HfApi().repo_info(**self._options)
            tree = self._library.HfApi().list_repo_tree(recursive=True, **self._options)
            sizes = {entry.path: entry.size for entry in tree if isinstance(entry, self._library.hf_api.RepoFile)}
        except httpx2.TransportError as error:
            try:
                self._check_cached()
            except Exception:  # noqa: BLE001  # the first error is the one to report
                raise error from None
            self._send(f"the hub does not respond; {self._id} is loaded from the cache", "warning")
            return
        directory.model_among(list(sizes), f"{self._id} on the hub", self._hub.configurations)
        self._fetch(sizes)

    def _fetch(self, sizes: Mapping[str, int]) -> None:
        names = wanted_files(sizes, self._hub.load_format, self._weights_in_index)
        cached = sum(sizes[name] for name in names if self._is_cached(name))
        total = sum(sizes[name] for name in names)
        self._check_space(total - cached)
        blobs = self._cache / f"models--{self._id.replace('/', '--')}" / "blobs"
        progress = Progress(self._send, total, cached)
        done = threading.Event()
        reporter = threading.Thread(target=_report_regularly, args=(blobs, progress, done), daemon=True)
        reporter.start()
        try:
            self._library.snapshot_download(
                allow_patterns=[glob.escape(name) for name in names], cache_dir=self._cache, **self._options
            )
        finally:
            done.set()
            reporter.join()

    def _check_cached(self) -> None:
        self._library.snapshot_download(
            allow_patterns=list(self._hub.configurations), cache_dir=self._cache, local_files_only=True, **self._options
        )

    def _weights_in_index(self, name: str) -> set[str]:
        path = self._library.hf_hub_download(filename=name, cache_dir=self._cache, **self._options)
        weights: dict[str, str] = json.loads(Path(path).read_text())["weight_map"]
        return set(weights.values())

    def _is_cached(self, name: str) -> bool:
        found = self._library.try_to_load_from_cache(self._id, name, cache_dir=self._cache, revision=self._hub.revision)
        return isinstance(found, str)

    def _check_space(self, needed: int) -> None:
        self._cache.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self._cache).free
        if needed > free:
            raise StartError(
                f"The model {self._id} needs {format_bytes(needed)} more in {self._cache}, but only {format_bytes(free)} are free; free "
                "some space, mount a larger disk there, or name another directory with HF_HOME."
            )


def describe_error(error: Exception, repository: str, revision: str | None) -> str:
    """What an exception of huggingface_hub means, and the cure."""
    from huggingface_hub import errors  # noqa: PLC0415  # heavy

    causes: tuple[tuple[type[Exception], str, str], ...] = (
        (errors.GatedRepoError, "is gated", f"ask for access on its page, and {_SET_TOKEN}"),
        (errors.DisabledRepoError, "is disabled on the hub", "choose another"),
        (errors.RevisionNotFoundError, f"has no revision {revision}", "correct HF_REVISION (or OPTION_REVISION)"),
        (errors.RepositoryNotFoundError, "does not exist on the hub, or is private", f"correct the id, or {_SET_TOKEN}"),
        (errors.LocalEntryNotFoundError, "is not in the hub's cache, and the hub is switched off or does not respond",
         "unset HF_HUB_OFFLINE, or fill the directory that HF_HOME names"),
        (errors.HFValidationError, "is not an id of the hub", "write organisation/name"),
    )  # fmt: skip
    for type_, wrong, cure in causes:
        if isinstance(error, type_):
            return f"The model {repository} {wrong}; {cure}."
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"The model {repository} does not fit on the disk of the hub's cache; mount a larger one (HF_HOME)."
    return (
        f"The model {repository} cannot be downloaded ({type(error).__name__}: {error}); check the network, HF_ENDPOINT "
        "and HTTPS_PROXY."
    )


def _report_regularly(blobs: Path, progress: Progress, done: threading.Event) -> None:
    """Count the bytes in the cache: that works for each of the hub's transfer methods."""
    before = _bytes(blobs)
    while not done.wait(SECONDS):
        now = _bytes(blobs)
        progress.add(now - before)
        before = now
        progress.report()


def _bytes(blobs: Path) -> int:
    def size(path: Any) -> int:
        try:
            return int(path.stat().st_blocks) * 512
        except OSError:
            return 0

    return sum(size(path) for path in blobs.glob("*"))
