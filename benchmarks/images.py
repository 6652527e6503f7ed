"""A size enters; a photo-like JPEG leaves, as often as asked for, and each time with bytes that no server has seen."""

import base64
import io
from itertools import count

import numpy as np
from PIL import Image

QUALITY = 88
GRAIN = 9.0  # standard deviation of the sensor noise: 12 megapixels then take 4 MB, as out of a camera
SUBJECTS = 2  # different images of each size
# Blobs from coarse to fine: how many there are across the image, and how much they lighten or darken it.
BLOBS = ((6, 50.0), (24, 30.0), (96, 20.0))

Size = tuple[int, int]


def photo(size: Size, seed: int) -> bytes:
    """A JPEG of soft shapes over a gradient, with grain. The same for the same seed."""
    width, height = size
    rng = np.random.default_rng([seed, width, height])
    across = np.linspace(0, 1, width, dtype=np.float32)[None, :, None]
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    corner = rng.uniform(60, 190, (4, 3)).astype(np.float32)
    top = corner[0] * (1 - across) + corner[1] * across
    bottom = corner[2] * (1 - across) + corner[3] * across
    pixels = top * (1 - down) + bottom * down
    for number, strength in BLOBS:
        coarse = rng.integers(0, 256, (max(2, number * height // width), number, 3), dtype=np.uint8)
        smooth = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        pixels += (np.asarray(smooth, dtype=np.float32) - 128) * (strength / 128)
    pixels += rng.standard_normal((height, width, 1), dtype=np.float32) * GRAIN
    file = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


class Album:
    """Images as data: URLs."""

    def __init__(self) -> None:
        self._photos: dict[Size, list[bytes]] = {}
        self._kept: dict[Size, str] = {}
        self._number = count(1)

    def fresh(self, size: Size) -> str:
        """An image that was never handed out before: no cache knows it."""
        if size not in self._photos:
            self._photos[size] = [photo(size, seed) for seed in range(SUBJECTS)]
        number = next(self._number)
        return _data_url(_add_comment(self._photos[size][number % SUBJECTS], number))

    def same(self, size: Size) -> str:
        """One and the same image every time."""
        if size not in self._kept:
            self._kept[size] = self.fresh(size)
        return self._kept[size]

    def shows_same(self, size: Size) -> bool:
        """Whether `same` was called for this size."""
        return size in self._kept

    def sizes(self) -> dict[Size, int]:
        """Bytes of the JPEG of each size that was asked for."""
        return {size: len(photos[0]) for size, photos in self._photos.items()}


def _add_comment(jpeg: bytes, number: int) -> bytes:
    """The image with its number in a comment: other bytes, so another image to every cache; the same pixels."""
    comment = f"{number:08d}".encode()
    return jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[2:]


def _data_url(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
