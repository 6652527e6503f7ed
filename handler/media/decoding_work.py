"""What a decoder would do beyond its image's pixels: bounded while Pillow reads the header, and checked before it decodes."""

import re
from io import BytesIO

from PIL import Image

from handler.errors import MediaInvalid, MediaTooLarge
from handler.media.limits import MediaLimits

# A read is one step of a parser in Python: of a PNG's chunks, a JPEG's markers. Files of cameras and browsers need 10 to
# 100, a PNG of small chunks five for each 8 KiB; 65,536 take half a second.
_READS = 2**16
_BYTES_PER_READ = 2**10
_MAX_RESOURCES = 2**14  # of Photoshop in a JPEG's header: it writes a few dozen
_SCAN = re.compile(rb"\xff\xda\0(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")  # how each scan of a JPEG begins
_MAX_SCANS = 100  # libtiff's limit; encoders write about ten
_SCANS_OF_LARGEST = 20  # of an image that has all the pixels allowed: each scan passes over all of them


class BoundedFile(BytesIO):
    """An image's bytes that can be read in a limited number of pieces, after which `read` raises MediaInvalid. So does the
    constructor where a piece is a list of very many parts."""

    def __init__(self, encoded: bytes, path: str | None) -> None:
        super().__init__(encoded)
        if encoded[:2] == b"\xff\xd8" and encoded.count(b"8BIM") > _MAX_RESOURCES:
            raise _too_many_parts(path)
        self._path = path
        self._reads_left = _READS + len(encoded) // _BYTES_PER_READ

    def read(self, size: int | None = -1, /) -> bytes:
        """Pillow's way to every byte of a header, and to the pixels in pieces of 64 KiB."""
        self._reads_left -= 1
        if self._reads_left < 0:
            raise _too_many_parts(self._path)
        return super().read(size)


def check_decoding_work(opened: Image.Image, encoded: bytes, path: str, limits: MediaLimits) -> None:
    """Raises MediaInvalid or MediaTooLarge for an opened image whose decoder would work far longer than its size says."""
    if opened.format == "BMP" and any(tile[0] == "bmp_rle" for tile in getattr(opened, "tile", ())):
        # Pillow's decoder is a loop in Python: 7 kB keep it, and every other thread, busy for 30 s.
        raise MediaInvalid("The BMP image is run-length encoded, which is not read. Save it as PNG.", param=path)
    if opened.format in {"JPEG", "MPO"}:
        scans = len(_SCAN.findall(encoded))
        if scans > _MAX_SCANS or scans * opened.width * opened.height > _SCANS_OF_LARGEST * limits.image_pixels:
            raise MediaTooLarge(
                f"The JPEG image has {scans:,} scans, too many for its size. Save it again to send it.", param=path
            )


def _too_many_parts(path: str | None) -> MediaInvalid:
    return MediaInvalid("The image is in too many small parts. Save it again to send it.", param=path)
