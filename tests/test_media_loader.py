import asyncio
import base64
from collections.abc import Coroutine
from ipaddress import ip_network
from typing import Any, Self

import pytest
from aiohttp import web
from blake3 import blake3

from handler.engine import PromptImage
from handler.errors import MediaError, MediaForbidden, MediaInvalid, MediaTooLarge, MediaUnreachable
from handler.media.limits import MediaLimits
from handler.media.loader import MediaLoader
from handler.payload.parts import ImagePart
from tests.media_server import body, encode, gradient, media_server, never

SMALL = encode(gradient(), "PNG")
LARGE = encode(gradient(900, 700), "BMP")  # 1.9 MB: goes through the thread pool


def data_url(encoded: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(encoded).decode()


def path(number: int) -> str:
    return f"messages[0].content[{number}].image_url.url"


def asking(*urls: str) -> list[ImagePart]:
    return [ImagePart(url, path(number)) for number, url in enumerate(urls)]


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


class Loading:
    """A started MediaLoader, and an engine that holds the digests in `held`."""

    def __init__(self, **limits: Any) -> None:
        networks = (ip_network("127.0.0.1/32"),)
        self.loader = MediaLoader(MediaLimits(**{"images_per_prompt": 20, "allowed_networks": networks, **limits}))
        self.held: set[str] = set()

    async def __aenter__(self) -> Self:
        await self.loader.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.loader.aclose()

    async def load(self, parts: list[ImagePart]) -> list[PromptImage]:
        return await self.loader.load_images(parts, self.held.__contains__)

    async def images(self, *urls: str) -> tuple[PromptImage, ...]:
        return tuple(await self.load(asking(*urls)))

    async def error(self, kind: type[MediaError], *urls: str) -> MediaError:
        with pytest.raises(MediaError) as caught:
            await self.images(*urls)
        assert type(caught.value) is kind, caught.value
        return caught.value


def digest(encoded: bytes) -> str:
    return blake3(encoded).hexdigest()


def test_a_request_without_images_loads_nothing():
    async def test() -> None:
        async with Loading() as loading:
            assert await loading.load([]) == []

    run(test())


def test_images_keep_their_order_paths_and_digests():
    async def test() -> None:
        async with Loading() as loading, media_server({"/a": body(LARGE)}) as (base, _):
            urls = (data_url(SMALL), f"{base}/a", data_url(LARGE), SMALL)
            found = await loading.load([ImagePart(url, f"p{i}") for i, url in enumerate(urls)])
            assert [image.path for image in found] == ["p0", "p1", "p2", "p3"]
            assert [image.encoded for image in found] == [SMALL, LARGE, LARGE, SMALL]
            assert [image.digest for image in found] == [digest(data) for data in (SMALL, LARGE, LARGE, SMALL)]
            assert [image.image.size for image in found] == [(32, 20), (900, 700), (900, 700), (32, 20)]

    run(test())


@pytest.mark.parametrize("encoded", [SMALL, LARGE], ids=["small", "large"])
def test_only_what_the_engine_does_not_hold_is_decoded(encoded: bytes):
    damaged = encoded[: len(encoded) // 2]  # a good header, and pixels that cannot be decoded

    async def test() -> None:
        async with Loading() as loading, media_server({"/": body(damaged)}) as (base, _):
            for url in (data_url(damaged), f"{base}/"):
                error = await loading.error(MediaInvalid, data_url(SMALL), url)
                assert error.param == path(1)
                loading.held = {digest(damaged)}
                image = (await loading.images(url))[0]
                assert image.image.size == ((32, 20) if encoded is SMALL else (900, 700))
                with pytest.raises(MediaInvalid):
                    image.image.load()
                loading.held = set()
                del image
            assert (await loading.images(data_url(encoded)))[0].image.decoded

    run(test())


@pytest.mark.parametrize("encoded", [SMALL, LARGE], ids=["small", "large"])
def test_the_same_image_is_one_image_in_parts_turns_and_requests(encoded: bytes):
    async def test() -> None:
        async with Loading() as loading, media_server({"/": body(encoded)}) as (base, _):
            url = data_url(encoded)
            several = await asyncio.gather(loading.images(url, url, f"{base}/"), loading.images(f"{base}/", url))
            images = {id(image.image) for images in several for image in images}
            assert len(images) == 1

    run(test())


def test_a_url_is_fetched_once_however_often_it_is_named():
    async def test() -> None:
        async with Loading() as loading, media_server({"/a": body(SMALL), "/b": body(LARGE)}) as (base, seen):
            found = await loading.images(f"{base}/a", f"{base}/b", f"{base}/a", f"{base}/a")
            assert sorted(request.path for request in seen) == ["/a", "/b"]
            assert [image.path for image in found] == [path(number) for number in range(4)]
            assert [image.encoded for image in found] == [SMALL, LARGE, SMALL, SMALL]
            error = await loading.error(MediaUnreachable, f"{base}/a", f"{base}/x", f"{base}/x")
            assert error.param == path(1)

    run(test())


def test_too_many_images_are_rejected_before_any_work():
    async def test() -> None:
        async with Loading(images_per_prompt=2) as loading, media_server({"/": body(SMALL)}) as (base, seen):
            error = await loading.error(MediaTooLarge, f"{base}/", "s3://not/checked", f"{base}/")
            assert error.param == path(2)
            assert "has 3 images; the limit is 2" in str(error)
            assert "OPTION_LIMIT_MM_PER_PROMPT" in str(error)
            assert seen == []

    run(test())


def test_every_reference_is_checked_before_the_first_fetch():
    async def test() -> None:
        async with Loading() as loading, media_server({"/": body(SMALL)}) as (base, seen):
            assert (await loading.error(MediaInvalid, f"{base}/", "s3://bucket/key")).param == path(1)
            assert seen == []

    run(test())


def under_way() -> list[str]:
    names = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]
    return [name for name in names if name.startswith(("MediaLoader", "Fetcher"))]


def test_the_first_fault_cancels_the_others_and_is_raised_alone():
    async def test() -> None:
        async with Loading(fetch_seconds=600) as loading, media_server({"/never": never}) as (base, _):
            slow = [f"{base}/never?{number}" for number in range(5)]
            error = await loading.error(MediaUnreachable, *slow, f"{base}/missing")
            assert error.param == path(5)
            assert under_way() == []

    run(test())


def test_a_cancelled_request_leaves_nothing_running():
    arrived = asyncio.Event()

    async def arriving(request: web.Request) -> web.StreamResponse:
        arrived.set()
        return await never(request)

    async def test() -> None:
        async with Loading(fetch_seconds=600) as loading, media_server({"/a": arriving, "/b": never}) as (base, _):
            request = asyncio.create_task(loading.images(f"{base}/b", f"{base}/a"))
            await arrived.wait()
            request.cancel()
            with pytest.raises(asyncio.CancelledError):
                await request
            assert under_way() == []

    run(test())


def test_one_request_fetches_only_so_many_images_at_a_time():
    running, most = 0, 0

    async def counting(request: web.Request) -> web.Response:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1
        return web.Response(body=SMALL)

    async def test() -> None:
        async with Loading(fetches_per_request=2) as loading, media_server({"/": counting}) as (base, seen):
            await loading.images(*(f"{base}/?{number}" for number in range(8)))
            assert len(seen) == 8
            assert most == 2

    run(test())


def test_faults_of_every_stage_name_their_part():
    async def test() -> None:
        async with Loading(image_bytes=4000, image_pixels=1000) as loading, media_server({"/": body(b"")}) as (base, _):
            faults = {
                "": MediaInvalid,
                "ftp://x": MediaInvalid,
                "data:image/png;base64,????": MediaInvalid,
                "data:image/png;base64,": MediaInvalid,
                data_url(b"no image"): MediaInvalid,
                data_url(bytes(4001)): MediaTooLarge,
                data_url(encode(gradient(100, 100), "JPEG")): MediaTooLarge,
                f"{base}/": MediaInvalid,
                "http://169.254.169.254/latest/meta-data": MediaForbidden,
            }
            for url, kind in faults.items():
                assert (await loading.error(kind, data_url(SMALL), url)).param == path(1)

    run(test())


def test_a_loader_that_never_started_can_be_closed_twice():
    async def test() -> None:
        loader = MediaLoader(MediaLimits())
        await loader.aclose()
        await loader.aclose()

    run(test())


def test_pixels_are_freed_when_the_last_request_releases_them():
    async def test() -> None:
        async with Loading() as loading:
            (one,) = await loading.images(data_url(LARGE))
            (two,) = await loading.images(data_url(LARGE))
            one.release()
            one.release()
            assert one.image is two.image
            assert one.image.decoded
            two.release()
            assert not one.image.decoded
            assert one.image.resize((2, 2)).size == (2, 2)  # a later use decodes again

    run(test())


def test_requests_wait_for_free_memory_for_pixels():
    async def test() -> None:
        async with Loading(decoded_pixels=900 * 700) as loading:
            (first,) = await loading.images(data_url(LARGE))
            waiting = asyncio.create_task(loading.images(data_url(SMALL)))
            await asyncio.sleep(0.2)
            assert not waiting.done()
            first.release()
            (second,) = await asyncio.wait_for(waiting, 10)
            assert second.image.decoded

    run(test())


def test_an_image_that_fails_releases_its_memory():
    async def test() -> None:
        async with Loading(decoded_pixels=900 * 700) as loading:
            for _ in range(3):
                with pytest.raises(MediaInvalid):
                    await loading.images(data_url(LARGE[:-1000]), data_url(SMALL))
            assert await asyncio.wait_for(loading.images(data_url(LARGE)), 10)

    run(test())
