"""MediaLoader: ChatRequest -> the messages that an engine runs, each image part a loaded Picture."""

import asyncio
import functools
import os
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from blake3 import blake3

from handler.engine import Message, Picture
from handler.errors import MediaInvalid, MediaTooLarge
from handler.media.addresses import AddressPolicy
from handler.media.cache import PictureCache
from handler.media.fetch import Fetcher, Lookup
from handler.media.images import LazyImage, prepare
from handler.media.limits import MediaLimits
from handler.media.references import Inline, MediaRef, Remote, reference, too_many_bytes
from handler.payload import ChatMessage, ChatRequest, ImagePart

Holds = Callable[[str], bool]
_T = TypeVar("_T")


class MediaLoader:
    """Loads the pictures of requests: one object per process. `start` on the event loop first, `aclose` last."""

    def __init__(self, limits: MediaLimits, *, threads: int | None = None, lookup: Lookup | None = None) -> None:
        """`threads` decode at a time, by default one per core up to 8; `lookup` stands in for DNS in tests."""
        self._limits = limits
        self._policy = AddressPolicy(limits)
        self._cache = PictureCache(limits)
        self._fetcher = Fetcher(limits, self._policy, lookup=lookup)
        self._pool = ThreadPoolExecutor(threads or min(8, os.cpu_count() or 1), "lumi-media")

    async def start(self) -> None:
        """Load Pillow's readers and the certificates, so that the first request does not wait for them."""
        await self._in_pool(functools.partial(prepare, self._limits))
        await self._fetcher.start()

    async def aclose(self) -> None:
        """Close connections and let the threads end. No `load` should be running."""
        await self._fetcher.aclose()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def load(self, request: ChatRequest, holds: Holds) -> tuple[Message, ...]:
        """The request's messages with its pictures loaded, all in parallel, decoded where `holds(digest)` is False.

        Raises a MediaError that names the JSON path: limits and references are looked at before anything is fetched,
        and the first fault cancels what is still under way. `holds` is called on the event loop.
        """
        parts = [part for message in request.messages for part in _image_parts(message)]
        if not parts:
            return tuple(_message(message, iter(())) for message in request.messages)
        self._count(parts)
        refs = [reference(part, self._limits, self._policy) for part in parts]
        pictures = await self._pictures(refs, holds)
        return tuple(_message(message, pictures) for message in request.messages)

    def _count(self, parts: Sequence[ImagePart]) -> None:
        limit = self._limits.pictures_per_prompt
        if len(parts) > limit:
            raise MediaTooLarge(
                f"The prompt has {len(parts)} pictures; the limit is {limit}. The operator can raise "
                "OPTION_LIMIT_MM_PER_PROMPT.",
                param=parts[limit].path,
            )

    async def _pictures(self, refs: Sequence[MediaRef], holds: Holds) -> Iterator[Picture]:
        sources: dict[object, MediaRef] = {}
        for ref in refs:
            sources.setdefault(_source(ref), ref)  # a URL twice is fetched once; an error names its first path
        turns = asyncio.Semaphore(self._limits.fetches_per_request)
        loaded = await _all([self._load(ref, turns, holds) for ref in sources.values()])
        images = dict(zip(sources, loaded, strict=True))
        found = [(images[_source(ref)], ref.path) for ref in refs]
        return iter([Picture(image, image.encoded, image.digest, path) for image, path in found])

    async def _load(self, ref: MediaRef, turns: asyncio.Semaphore, holds: Holds) -> LazyImage:
        encoded: Callable[[], bytes]
        if isinstance(ref, Inline):
            size, encoded = ref.size, ref.decode
        else:
            async with turns:
                pieces = await self._fetcher.fetch(ref)
            size, encoded = sum(map(len, pieces)), functools.partial(b"".join, pieces)
        if size <= self._limits.inline_bytes:
            return await self._load_small(encoded, ref.path, holds)
        # One hop for base64, digest and header; another for the pixels, if they are wanted.
        image = await self._in_pool(lambda: self._cache.open(*self._identified(encoded, ref.path), ref.path))
        if not image.decoded and not holds(image.digest):
            await self._in_pool(lambda: image.decode(ref.path))
        return image

    async def _load_small(self, encoded: Callable[[], bytes], path: str, holds: Holds) -> LazyImage:
        """Without a hop when the picture is known, else with one. A new header is never parsed on the event loop:
        48 kB of PNG can inflate to 50 MB of text.
        """
        digest, data = self._identified(encoded, path)
        held = holds(digest)
        known = self._cache.find(digest, data)
        if known is not None and (held or known.decoded):
            return known

        def open_and_decode() -> LazyImage:
            image = self._cache.open(digest, data, path)
            if not held:
                image.decode(path)
            return image

        return await self._in_pool(open_and_decode)

    def _identified(self, encoded: Callable[[], bytes], path: str) -> tuple[str, bytes]:
        data = encoded()
        if not data:
            raise MediaInvalid("The picture is empty.", param=path)
        if len(data) > self._limits.picture_bytes:
            raise too_many_bytes(self._limits, path)
        return blake3(data).hexdigest(), data

    def _in_pool(self, work: Callable[[], _T]) -> "asyncio.Future[_T]":
        return asyncio.get_running_loop().run_in_executor(self._pool, work)


def _image_parts(message: ChatMessage) -> list[ImagePart]:
    if not isinstance(message.content, tuple):
        return []
    return [part for part in message.content if isinstance(part, ImagePart)]


def _message(message: ChatMessage, pictures: Iterator[Picture]) -> Message:
    content = message.content
    if isinstance(content, tuple):
        parts = tuple(next(pictures) if isinstance(part, ImagePart) else part.text for part in content)
        return Message(message.role, parts, message.fields)
    return Message(message.role, content, message.fields)


def _source(ref: MediaRef) -> object:
    """What two references to the same download have in common. Data is compared later, by digest."""
    return ref.url if isinstance(ref, Remote) else id(ref)


async def _all(jobs: Sequence[Coroutine[None, None, _T]]) -> list[_T]:
    """The results, in order; on the first failure the rest is cancelled and awaited, and it alone is raised."""
    if len(jobs) == 1:
        return [await jobs[0]]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(job) for job in jobs]
    except BaseExceptionGroup as faults:
        raise faults.exceptions[0] from None
    return [task.result() for task in tasks]
