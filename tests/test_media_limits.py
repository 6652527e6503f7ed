import dataclasses

import pytest

from handler.media.limits import MediaLimits


def test_the_defaults_serve_one_ordinary_image():
    limits = MediaLimits()
    assert limits.images_per_prompt == 1
    assert limits.formats == ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
    assert limits.connect_seconds < limits.fetch_seconds
    assert limits.fetches_per_request <= limits.fetches


def test_limits_do_not_change_while_serving():
    with pytest.raises(dataclasses.FrozenInstanceError):
        MediaLimits().image_bytes = 1
