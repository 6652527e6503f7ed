import pytest

from handler.errors import MediaTooLarge
from handler.media.dimensions import check_dimensions
from handler.media.limits import MediaLimits
from tests.hostile_images import png
from tests.serving import ask, data_url, fault, serving
from tests.test_media_images import lazy

PATH = "messages[0].content[1].image_url.url"
LIMITS = MediaLimits()


@pytest.mark.parametrize("size", [(1, 1), (7071, 7071), (1, 200), (32_768, 164), (164, 32_768), (1525, 32_768)])
def test_sizes_within_the_limits_pass(size: tuple[int, int]):
    check_dimensions(*size, PATH, LIMITS)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((7072, 7071), r"more than the 50,000,000 pixels .* OPTION_MEDIA_MAX_PICTURE_PIXELS"),
        ((1, 50_000_000), r"1 x 50,000,000 .* a side may have 32,768\. .* OPTION_MEDIA_MAX_PICTURE_SIDE"),
        ((32_769, 1000), r"32,769 x 1,000 .* a side may have 32,768"),
        ((201, 1), r"201 x 1 pixels, .* 200 times the shorter one\. .* OPTION_MEDIA_MAX_PICTURE_ASPECT_RATIO"),
        ((163, 32_768), "may be 200 times"),
    ],
)
def test_a_size_over_a_limit_names_it_and_its_option(size: tuple[int, int], message: str):
    with pytest.raises(MediaTooLarge, match=message) as caught:
        check_dimensions(*size, PATH, LIMITS)
    assert caught.value.param == PATH


@pytest.mark.parametrize("size", [(1, 50_000_000), (50_000_000, 1), (1, 201)])
def test_an_image_over_a_limit_is_refused_by_its_header(size: tuple[int, int]):
    with pytest.raises(MediaTooLarge):
        lazy(png(*size))


def test_the_options_are_the_limits_and_the_response_names_the_path():
    with serving(
        environ={"OPTION_MEDIA_MAX_PICTURE_SIDE": "256", "OPTION_MEDIA_MAX_PICTURE_ASPECT_RATIO": "4"}
    ) as served:
        sides = served.post(ask("?", data_url(70, 257)))
        ratio = served.post(ask("?", data_url(9, 2)))
        assert served.post(ask("?", data_url(64, 256))).status_code == 200
    assert (sides.status_code, fault(sides)["param"]) == (400, "messages[0].content[1].image_url.url")
    assert "70 x 257 pixels, and a side may have 256" in fault(sides)["message"]
    assert "its longer side may be 4 times" in fault(ratio)["message"]
