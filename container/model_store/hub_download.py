"""An id on the Hugging Face hub -> the files that vLLM will ask for, in the hub's own cache, with words for what fails.

huggingface_hub works in a process of its own, since nothing else could end its threads before their files are complete.
What it has begun is taken up by the next start. It reads HF_ENDPOINT, HF_HUB_OFFLINE, HF_HUB_CACHE and HF_HOME itself.
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
from container.model_store.amounts import SECONDS, Progress, amount
from container.model_store.background import Stopped
from container.model_store.hub_files import Hub, wanted_files
from handler.errors import StartError

log = logging.getLogger("lumi.model")

_POLL_SECONDS = 0.2
_OF_TOKEN = "set HF_TOKEN to a token whose owner may read it"  # noqa: S105  # words


def download(repository: str, hub: Hub, say: Callable[[str], None], stop: threading.Event) -> None:
    """Raises StartError with the cure, or Stopped."""
    say(f"looking at {repository} on the Hugging Face hub")
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
                if kind == "refusal":
                    raise StartError(text)
                log.log(logging.WARNING if kind == "warning" else logging.INFO, text)
                say(text)
            elif stop.is_set():
                raise Stopped
    except EOFError:
        raise StartError(f"The download of {repository} ended without a word; its memory may have run out.") from None
    finally:
        process.kill()
        process.join()
        process.close()
        ours.close()


def cached(repository: str, hub: Hub) -> Path:
    """The directory in the hub's cache of what was downloaded."""
    import huggingface_hub  # noqa: PLC0415  # heavy

    found = huggingface_hub.snapshot_download(
        repository,
        revision=hub.revision,
        cache_dir=hub.download_dir,
        allow_patterns=list(hub.configurations),  # the cache does not hold all of it
        local_files_only=True,
    )
    return Path(found)


def _run(repository: str, hub: Hub, told: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it too, and ends this process

    def tell(text: str, kind: str = "progress") -> None:
        try:
            told.send((kind, text))
        except BrokenPipeError:
            os._exit(1)  # the parent is gone

    try:
        _Repository(repository, hub, tell).download()
        tell("", "end")
    except StartError as refused:
        tell(str(refused), "refusal")
    except Exception as error:  # noqa: BLE001  # translated, whatever it is
        tell(refusal(error, repository, hub.revision), "refusal")


class _Repository:
    """One repository at one revision, in the process that downloads it."""

    def __init__(self, repository: str, hub: Hub, tell: Callable[..., None]) -> None:
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
        self._tell = tell
        self._named: dict[str, Any] = {"repo_id": repository, "revision": hub.revision, "token": hub.token}

    def download(self) -> None:
        if self._offline:
            self._check_cached()
            return
        import httpx2  # noqa: PLC0415  # what huggingface_hub speaks through

        try:
            # Asked first, because it does not try again for half a minute where nobody answers.
            self._library.HfApi().repo_info(**self._named)
            tree = self._library.HfApi().list_repo_tree(recursive=True, **self._named)
            sizes = {entry.path: entry.size for entry in tree if isinstance(entry, self._library.hf_api.RepoFile)}
        except httpx2.TransportError as error:
            try:
                self._check_cached()
            except Exception:  # noqa: BLE001  # the first fault is the one to tell
                raise error from None
            self._tell(f"the hub does not answer; {self._id} is taken from the cache", "warning")
            return
        directory.model_among(list(sizes), f"{self._id} on the hub", self._hub.configurations)
        self._fetch(sizes)

    def _fetch(self, sizes: Mapping[str, int]) -> None:
        names = wanted_files(sizes, self._hub.load_format, self._indexed)
        there = sum(sizes[name] for name in names if self._is_cached(name))
        total = sum(sizes[name] for name in names)
        self._check_space(total - there)
        blobs = self._cache / f"models--{self._id.replace('/', '--')}" / "blobs"
        progress = Progress(self._tell, total, there)
        done = threading.Event()
        ticker = threading.Thread(target=_tick, args=(blobs, progress, done), daemon=True)
        ticker.start()
        try:
            self._library.snapshot_download(
                allow_patterns=[glob.escape(name) for name in names], cache_dir=self._cache, **self._named
            )
        finally:
            done.set()
            ticker.join()

    def _check_cached(self) -> None:
        self._library.snapshot_download(
            allow_patterns=list(self._hub.configurations), cache_dir=self._cache, local_files_only=True, **self._named
        )

    def _indexed(self, name: str) -> set[str]:
        path = self._library.hf_hub_download(filename=name, cache_dir=self._cache, **self._named)
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
                f"The model {self._id} needs {amount(needed)} more in {self._cache}, and {amount(free)} are free; free "
                "some space, mount a larger disk there, or name another directory with HF_HOME."
            )


def refusal(error: Exception, repository: str, revision: str | None) -> str:
    """A sentence with the cure for what huggingface_hub raised."""
    from huggingface_hub import errors  # noqa: PLC0415  # heavy

    words: tuple[tuple[type[Exception], str, str], ...] = (
        (errors.GatedRepoError, "is gated", f"ask for access on its page, and {_OF_TOKEN}"),
        (errors.DisabledRepoError, "is disabled on the hub", "choose another"),
        (errors.RevisionNotFoundError, f"has no revision {revision}", "correct HF_REVISION (or OPTION_REVISION)"),
        (errors.RepositoryNotFoundError, "does not exist on the hub, or is private", f"correct the id, or {_OF_TOKEN}"),
        (errors.LocalEntryNotFoundError, "is not in the hub's cache, and the hub is not asked or does not answer",
         "unset HF_HUB_OFFLINE, or fill the directory that HF_HOME names"),
        (errors.HFValidationError, "is no id of the hub", "write organisation/name"),
    )  # fmt: skip
    for type_, wrong, cure in words:
        if isinstance(error, type_):
            return f"The model {repository} {wrong}; {cure}."
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"The model {repository} does not fit on the disk of the hub's cache; mount a larger one (HF_HOME)."
    return (
        f"The model {repository} cannot be downloaded ({type(error).__name__}: {error}); check the network, HF_ENDPOINT "
        "and HTTPS_PROXY."
    )


def _tick(blobs: Path, progress: Progress, done: threading.Event) -> None:
    """Count what comes by what lies in the cache: that holds for each of the hub's ways to transfer."""
    before = _bytes(blobs)
    while not done.wait(SECONDS):
        now = _bytes(blobs)
        progress.add(now - before)
        before = now
        progress.tell()


def _bytes(blobs: Path) -> int:
    def size(path: Any) -> int:
        try:
            return int(path.stat().st_blocks) * 512
        except OSError:
            return 0

    return sum(size(path) for path in blobs.glob("*"))
