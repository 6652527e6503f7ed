"""MediaLoader: image parts of a request -> the PromptImages that an engine takes."""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from blake3 import blake3

from handler.concurrency import gather
from handler.engine import PromptImage
from handler.errors import MediaTooLarge
from handler.media.addresses import AddressPolicy
from handler.media.budget import PixelBudget
from handler.media.fetch import Fetcher, Lookup
from handler.media.images import ImageCache, LazyImage, init_pillow
from handler.media.limits import MediaLimits
from handler.media.references import MediaRef, Raw, Remote, parse_reference
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
        """Load Pillow's plugins and the certificates, so that the first request does not wait for them."""
        await self._in_pool(partial(init_pillow, self._limits))
        await self._fetcher.start()

    async def aclose(self) -> None:
        """Close connections and let the threads end. No `load_images` may be running."""
        await self._fetcher.aclose()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def load_images(self, parts: Sequence[ImagePart], holds: Holds) -> list[PromptImage]:
        """The images of one request, loaded in parallel; those for which `holds(digest)` is False are decoded.

        Raises a MediaError that names the JSON path. The number of images and every reference are checked before
        anything is fetched, and the first error cancels the rest. `holds` is called on the event loop.
        """
        if not parts:
            return []
        if len(parts) > (limit := self._limits.images_per_prompt):
            raise MediaTooLarge(
                f"The prompt has {len(parts)} images; the limit is {limit}. The operator can raise "
                "OPTION_LIMIT_MM_PER_PROMPT.",
                param=parts[limit].path,
            )
        refs = [parse_reference(part, self._limits, self._policy) for part in parts]
        fetches = asyncio.Semaphore(self._limits.fetches_per_request)
        unique = list(dict.fromkeys(refs))  # a repeated URL is fetched once; errors name its first path
        images = dict(zip(unique, await gather([self._open(ref, fetches) for ref in unique]), strict=True))
        missing: dict[str, tuple[LazyImage, str]] = {}
        for ref in refs:
            if not holds(digest := images[ref].digest):
                missing.setdefault(digest, (images[ref], ref.path))
        releases = await self._decode(missing) if missing else {}
        return [
            PromptImage(image, image.encoded, image.digest, ref.path, releases.get(image.digest, lambda: None))
            for ref, image in ((ref, images[ref]) for ref in refs)
        ]

    async def _open(self, ref: MediaRef, fetches: asyncio.Semaphore) -> LazyImage:
        source = await self._fetch(ref, fetches) if isinstance(ref, Remote) else ref
        if source.size <= self._limits.inline_bytes:
            encoded = source.decode()
            if (image := self._cache.find(blake3(encoded).hexdigest(), encoded)) is not None:
                return image
        # A new header is never parsed on the event loop: 48 kB of PNG can inflate to 50 MB of text.
        return await self._in_pool(lambda: self._cache.open(source.decode(), source.path))

    async def _fetch(self, ref: Remote, fetches: asyncio.Semaphore) -> Raw:
        async with fetches:
            pieces = await self._fetcher.fetch(ref)
        return Raw(pieces, sum(map(len, pieces)), ref.path)

    async def _decode(self, images: Mapping[str, tuple[LazyImage, str]]) -> dict[str, Callable[[], None]]:
        """Decode when it is this request's turn to use memory. Returns, by digest, what releases the pixels."""
        pixels = {digest: image.width * image.height for digest, (image, _) in images.items()}
        await self._budget.acquire(sum(pixels.values()))
        releases = {
            digest: image.hold(partial(self._budget.release, pixels[digest])) for digest, (image, _) in images.items()
        }
        try:
            await gather(
                [self._in_pool(partial(image.decode, path)) for image, path in images.values() if not image.decoded]
            )
        except BaseException:
            for release in releases.values():
                release()
            raise
        return releases

    async def _in_pool(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)
