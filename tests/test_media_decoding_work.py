from collections.abc import Callable

import pytest

from handler.errors import MediaInvalid, MediaTooLarge
from handler.media.limits import MediaLimits
from tests.hostile_images import jpeg_of_markers, jpeg_of_resources, jpeg_of_scans, png_of_chunks, run_length_bmp
from tests.media_server import encode, gradient
from tests.test_media_images import lazy


@pytest.mark.parametrize(
    "make",
    [
        lambda: png_of_chunks(100_000),
        lambda: jpeg_of_markers(100_000),
        lambda: jpeg_of_markers(100_000, b"\xff"),
        lambda: jpeg_of_markers(100_000, b"\xff\xfe\0\2"),
        lambda: jpeg_of_resources(10),
    ],
    ids=["png chunks", "jpeg segments", "jpeg fill bytes", "jpeg comments", "photoshop's resources"],
)
def test_a_file_of_very_many_parts_is_refused_while_it_is_parsed(make: Callable[[], bytes]):
    with pytest.raises(MediaInvalid, match="too many small parts"):
        lazy(make())


def test_a_file_of_as_many_parts_as_writers_make_is_read():
    lazy(png_of_chunks(3000)).load()
    lazy(jpeg_of_markers(3000)).load()
    lazy(jpeg_of_resources(1)).load()


def test_scans_are_limited_by_their_number_and_by_the_pixels_that_they_pass_over():
    lazy(jpeg_of_scans(1000, 100)).load()
    with pytest.raises(MediaTooLarge, match="101 scans"):
        lazy(jpeg_of_scans(1000, 101))
    with pytest.raises(MediaTooLarge, match="21 scans"):
        lazy(jpeg_of_scans(1000, 21), MediaLimits(image_pixels=1_000_000))


def test_an_ordinary_progressive_jpeg_of_the_largest_size_is_read():
    lazy(encode(gradient(1000, 1000), "JPEG", progressive=True), MediaLimits(image_pixels=1_000_000)).load()


def test_a_run_length_encoded_bmp_is_refused_with_the_cure():
    with pytest.raises(MediaInvalid, match="Save it as PNG"):
        lazy(run_length_bmp(32_768, 1525))
