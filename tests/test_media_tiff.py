import struct

import pytest

from handler.errors import MediaError, MediaInvalid, MediaTooLarge
from handler.media.limits import MediaLimits
from handler.media.tiff import check_tiff
from tests.hostile_images import grey, tiff, tiff_of_strips, tiled_tiff
from tests.media_server import encode, gradient
from tests.test_media_images import lazy

LIMITS = MediaLimits()
DAMAGED = (KeyError, ValueError, struct.error)


def test_a_tile_far_larger_than_its_image_is_refused_before_it_is_allocated():
    with pytest.raises(MediaTooLarge, match=r"1 x 1 pixels in tiles of 46,000 x 46,000"):
        lazy(tiled_tiff(1, 46_000))


@pytest.mark.parametrize(("side", "tile"), [(1, 2048), (300, 256), (5000, 4096)])
def test_tiles_of_ordinary_sizes_pass(side: int, tile: int):
    check_tiff(tiled_tiff(side, tile), None, LIMITS)


def test_more_strips_than_cover_the_image_are_refused():
    check_tiff(tiff_of_strips(100, 2), None, LIMITS)
    with pytest.raises(MediaInvalid, match="lists 2,000 parts, and has 12 at most"):
        lazy(tiff_of_strips(100, 2000))


def test_the_limits_hold_before_the_strips_are_counted():
    with pytest.raises(MediaTooLarge, match="a side may have"):
        check_tiff(tiff([*grey(1, 9_000_000), (273, 9_000_000, 0), (278, 1, 1)]), None, LIMITS)


@pytest.mark.parametrize(
    "tags",
    [
        [(257, 1, 8)],  # no width
        [*grey(8, 8), (256, 1, 9)],  # two widths, of which parsers choose either
        [*grey(8, 8), (322, 1, 16), (323, 1, 16), (322, 1, 60_000), (324, 1, 8)],
        [*grey(8, 8), (322, 2, 16), (323, 1, 16), (324, 1, 8)],  # two values
        [*grey(8, 8), (278, 1, 0), (273, 1, 8)],
        [*grey(8, 8), (322, 1, 16), (324, 1, 8)],  # no height of tiles
    ],
)
def test_a_header_that_cannot_be_trusted_is_damaged(tags: list[tuple[int, int, int]]):
    with pytest.raises(DAMAGED):
        check_tiff(tiff(tags), None, LIMITS)


@pytest.mark.parametrize("magic", [b"MM\0+", b"MM*\0", b"II\0*"])
def test_byte_orders_that_parsers_read_differently_are_damaged(magic: bytes):
    with pytest.raises(MediaInvalid, match="header is damaged"):
        lazy(magic + encode(gradient(), "TIFF")[4:])


@pytest.mark.parametrize("big", [False, True])
def test_tiff_and_bigtiff_in_either_byte_order_are_read(big: bool):
    image = lazy(encode(gradient(), "TIFF", big_tiff=big))
    image.load()
    assert image.size == (32, 20)
    check_tiff(tiff([*grey(8, 8), (273, 1, 8)], order=">"), None, LIMITS)
    with pytest.raises(MediaTooLarge):
        check_tiff(tiff([*grey(8, 60_000), (273, 1, 8)], order=">"), None, LIMITS)


def test_every_cut_of_a_directory_is_an_error_of_ours():
    tags = [*grey(8, 8), (273, 1, 8), (278, 1, 8)]
    for length in range(2, 10 + 12 * len(tags)):
        with pytest.raises(MediaError):
            lazy(tiff(tags)[:length])
