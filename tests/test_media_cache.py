import gc
import weakref

import pytest

from handler.errors import MediaError
from handler.media.cache import ImageCache
from handler.media.limits import MediaLimits
from tests.media_server import encode, gradient

PNG = encode(gradient())
PATH = "messages[0]"


def test_a_live_image_is_shared_and_a_dead_one_is_let_go():
    cache = ImageCache(MediaLimits())
    first = cache.open("digest", PNG, PATH)
    first.load()
    assert cache.open("digest", PNG, PATH) is first
    gone = weakref.ref(first)
    del first
    gc.collect()
    assert gone() is None
    assert not cache.open("digest", PNG, PATH).decoded


def test_the_header_of_a_known_image_is_not_parsed_again():
    cache = ImageCache(MediaLimits())
    size = cache.open("digest", PNG, PATH).size
    # Bytes that would not pass, under the digest of bytes that did: only a second parse could tell.
    assert cache.open("digest", b"no image", PATH).size == size
    with pytest.raises(MediaError):
        cache.open("another digest", b"no image", PATH)


def test_a_stranger_is_not_found_and_does_not_push_out_what_was_used_last():
    cache = ImageCache(MediaLimits(remembered_images=2))
    assert cache.find("a", PNG) is None
    for digest in ("a", "b", "a", "c"):
        cache.open(digest, PNG, PATH)
    assert cache.find("a", PNG) is not None
    assert cache.find("b", PNG) is None


def test_nothing_need_be_remembered():
    cache = ImageCache(MediaLimits(remembered_images=0))
    assert cache.open("a", PNG, PATH).size == (32, 20)
