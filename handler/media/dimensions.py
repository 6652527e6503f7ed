"""Width and height of an image, in pixels -> nothing, or MediaTooLarge: what may be decoded and resized at all.

A processor resizes to a side that it knows, and the other side follows: LLaVA's makes an image of 1 x 50,000,000 pixels
16 TB. So what an image costs is bounded by its sides and their ratio as much as by its pixels.
"""

from handler.errors import MediaTooLarge
from handler.media.limits import MediaLimits


def check_dimensions(width: int, height: int, path: str | None, limits: MediaLimits) -> None:
    """Raises MediaTooLarge, with the limit and the option that sets it."""
    longer, shorter = max(width, height), min(width, height)
    if width * height > limits.image_pixels:
        raise too_many_pixels(path, limits)
    if longer > limits.image_side:
        raise MediaTooLarge(
            f"The image has {width:,} x {height:,} pixels, and a side may have {limits.image_side:,}. The operator can "
            "raise OPTION_MEDIA_MAX_PICTURE_SIDE.",
            param=path,
        )
    if longer > limits.image_aspect_ratio * shorter:
        raise MediaTooLarge(
            f"The image has {width:,} x {height:,} pixels, and its longer side may be {limits.image_aspect_ratio:,} times "
            "the shorter one. The operator can raise OPTION_MEDIA_MAX_PICTURE_ASPECT_RATIO.",
            param=path,
        )


def too_many_pixels(path: str | None, limits: MediaLimits) -> MediaTooLarge:
    """The error for an image of more pixels than the limit."""
    cure = "The operator can raise OPTION_MEDIA_MAX_PICTURE_PIXELS"
    return MediaTooLarge(f"The image has more than the {limits.image_pixels:,} pixels allowed. {cure}.", param=path)
