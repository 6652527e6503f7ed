import asyncio

import pytest

from handler.engines.fake import FakeEngine
from handler.errors import MediaInvalid
from handler.images import Images, RequestContext
from handler.media.limits import MediaLimits
from handler.media.loader import MediaLoader
from handler.payload.parts import ImagePart
from handler.sessions import Sessions, sha256
from tests.serving import data_url


def load(parts, sessions=None, session=None, use=list):
    """What `use` makes of the loaded images; afterwards they are released."""

    async def run():
        media = MediaLoader(MediaLimits())
        await media.start()
        try:
            images = Images(FakeEngine(), media, sessions)
            async with images.load_images(parts, RequestContext("id", session)) as loaded:
                return use(loaded)
        finally:
            await media.aclose()

    return asyncio.run(run())


def test_images_are_decoded_while_they_are_used_and_freed_afterwards():
    decoded = []
    (image,) = load(
        [ImagePart(data_url(2, 3), "path")], use=lambda images: decoded.append(images[0].image.decoded) or images
    )
    assert decoded == [True]
    assert image.image.size == (2, 3)
    assert not image.image.decoded


def test_an_image_of_a_session_is_loaded_by_its_hash():
    sessions = Sessions()
    session = sessions.open()
    (first,) = load([ImagePart(data_url(2, 3), "path")], sessions, session)
    (again,) = load([ImagePart(f"sha256:{sha256(first.encoded)}", "path")], sessions, session)
    assert again.encoded == first.encoded


@pytest.mark.parametrize("sessions", [None, Sessions()])
def test_without_a_session_a_hash_is_refused(sessions):
    with pytest.raises(MediaInvalid, match="X-Amzn-SageMaker-Session-Id") as refusal:
        load([ImagePart(f"sha256:{sha256(b'one')}", "path")], sessions)
    assert refusal.value.param == "path"
