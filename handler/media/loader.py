"""MediaLoader: image parts -> the Images that an engine is shown."""

import asyncio
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from blake3 import blake3

from handler.concurrency import gather
from handler.engine import PromptImage
from handler.errors import MediaInvalid, MediaTooLarge
from handler.media.addresses import AddressPolicy
from handler.media.budget import PixelBudget
from handler.media.cache import ImageCache
from handler.media.fetch import Fetcher, Lookup
from handler.media.images import LazyImage, prepare
from handler.media.limits import MediaLimits
from handler.media.references import Carried, Inline, MediaRef, Remote, reference, too_many_bytes
from handler.payload.parts import ImagePart

Holds = Callable[[str], bool]
_T = TypeVar("_T")


class MediaLoader:
    """Loads the images of requests: one object per process. `start` on the event loop first, `aclose` last."""

    def __init__(self, limits: MediaLimits, *, threads: int | None = None, lookup: Lookup | None = None) -> None:
        """`threads` decode at a time, by default one per core up to 8; `lookup` stands in for DNS in tests."""
        self._limits = limits
        self._policy = AddressPolicy(limits)
        self._cache = ImageCache(limits)
        self._fetcher = Fetcher(limits, self._policy, lookup=lookup)
        self._budget = PixelBudget(limits.decoded_pixels)
        self._pool = ThreadPoolExecutor(threads or min(8, os.cpu_count() or 1), "lumi-media")

    async def start(self) -> None:
        """Load Pillow's readers and the certificates, so that the first request does not wait for them."""
        await self._in_pool(functools.partial(prepare, self._limits))
        await self._fetcher.start()

    async def aclose(self) -> None:
        """Close connections and let the threads end. No `load` should be running."""
        await self._fetcher.aclose()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def images(self, parts: Sequence[ImagePart], holds: Holds) -> list[PromptImage]:
        """The images of one request, loaded in parallel, decoded where `holds(digest)` is False.

        Raises a MediaError that names the JSON path: limits and references are looked at before anything is fetched,
        and the first fault cancels what is still under way. `holds` is called on the event loop.
        """
        if not parts:
            return []
        self._count(parts)
        return await self._images([reference(part, self._limits, self._policy) for part in parts], holds)

    def _count(self, parts: Sequence[ImagePart]) -> None:
        limit = self._limits.images_per_prompt
        if len(parts) > limit:
            raise MediaTooLarge(
                f"The prompt has {len(parts)} images; the limit is {limit}. The operator can raise "
                "OPTION_LIMIT_MM_PER_PROMPT.",
                param=parts[limit].path,
            )

    async def _images(self, refs: Sequence[MediaRef], holds: Holds) -> list[PromptImage]:
        sources = {
            _source(ref): ref for ref in reversed(refs)
        }  # a URL twice is fetched once; errors name its first path
        turns = asyncio.Semaphore(self._limits.fetches_per_request)
        jobs = {source: self._open(ref, turns) for source, ref in reversed(sources.items())}
        images = dict(zip(jobs, await gather(list(jobs.values())), strict=True))
        found = [(images[_source(ref)], ref.path) for ref in refs]
        wanted = {image.digest: (image, path) for image, path in reversed(found) if not holds(image.digest)}
        releases = await self._decode(wanted)
        return [
            PromptImage(image, image.encoded, image.digest, path, releases.get(image.digest, _nothing))
            for image, path in found
        ]

    async def _decode(self, wanted: Mapping[str, tuple[LazyImage, str]]) -> dict[str, Callable[[], None]]:
        """Decode, when it is this request's turn to use memory; by digest, how to let each image's pixels go."""
        if not wanted:
            return {}
        await self._budget.take(sum(_pixels(image) for image, _ in wanted.values()))
        releases = {digest: self._held(image) for digest, (image, _) in wanted.items()}
        try:
            await gather([self._decode_one(image, path) for image, path in wanted.values()])
        except BaseException:
            for release in releases.values():
                release()
            raise
        return releases

    async def _decode_one(self, image: LazyImage, path: str) -> None:
        if not image.decoded:
            await self._in_pool(lambda: image.decode(path))

    def _held(self, image: LazyImage) -> Callable[[], None]:
        image.hold()
        ours = [_pixels(image)]  # emptied by the first call

        def release() -> None:
            if ours:
                image.let_go()
                self._budget.give_back(ours.pop())

        return release

    async def _open(self, ref: MediaRef, turns: asyncio.Semaphore) -> LazyImage:
        encoded: Callable[[], bytes]
        if isinstance(ref, Inline | Carried):
            size, encoded = ref.size, ref.decode
        else:
            async with turns:
                pieces = await self._fetcher.fetch(ref)
            size, encoded = sum(map(len, pieces)), functools.partial(b"".join, pieces)
        if size > self._limits.inline_bytes:
            # One hop for base64, digest and header.
            return await self._in_pool(lambda: self._cache.open(*self._identified(encoded, ref.path), ref.path))
        digest, data = self._identified(encoded, ref.path)
        # A new header is never parsed on the event loop: 48 kB of PNG can inflate to 50 MB of text.
        known = self._cache.find(digest, data)
        return known if known is not None else await self._in_pool(lambda: self._cache.open(digest, data, ref.path))

    def _identified(self, encoded: Callable[[], bytes], path: str) -> tuple[str, bytes]:
        data = encoded()
        if not data:
            raise MediaInvalid("The image is empty.", param=path)
        if len(data) > self._limits.image_bytes:
            raise too_many_bytes(self._limits, path)
        return blake3(data).hexdigest(), data

    def _in_pool(self, work: Callable[[], _T]) -> "asyncio.Future[_T]":
        return asyncio.get_running_loop().run_in_executor(self._pool, work)


def _nothing() -> None:
    """How to let go of pixels that were not decoded."""


def _pixels(image: LazyImage) -> int:
    return image.width * image.height


def _source(ref: MediaRef) -> object:
    """What two references to the same download have in common. Data is compared later, by digest."""
    return ref.url if isinstance(ref, Remote) else id(ref)
