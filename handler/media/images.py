"""Encoded bytes -> LazyImage: the upright RGB image, its size known at once, its pixels decoded when asked for.

The pixels equal those of vLLM's `ImageMediaIO.load_bytes` (vllm/multimodal/media/image.py): EXIF orientation applied,
transparency over white. One difference is on purpose: vLLM swallows a first decoding error and may show the model a
half-decoded image; here a damaged image is an error.
"""

import contextlib
import struct
import threading
import warnings
from collections.abc import Iterator
from io import BytesIO
from typing import Any

from PIL import ExifTags, Image, ImageOps

from handler.errors import MediaError, MediaInvalid, MediaTooLarge
from handler.media.limits import MediaLimits

_SIDEWAYS = frozenset({5, 6, 7, 8})  # EXIF orientations that swap width and height
_TURNED = frozenset({2, 3, 4}) | _SIDEWAYS
_WALKED_CHUNKS = 2**16  # of a PNG: an honest 20 MB file has at most a few thousand


class LazyImage(Image.Image):
    """A Pillow image of mode RGB that decodes itself, once, on the first `load()`: what all its methods call first.

    Thread-safe. `load()` raises MediaInvalid or MediaTooLarge, without a JSON path; `decode(path)` with it.
    """

    def __init__(self, encoded: bytes, digest: str, size: tuple[int, int], limits: MediaLimits) -> None:
        super().__init__()
        self._mode = "RGB"
        self._size = size
        self._limits = limits
        self._decoding = threading.Lock()
        self._holders = 0
        self.encoded = encoded
        self.digest = digest

    @property
    def decoded(self) -> bool:
        """Whether the pixels are there."""
        return self._im is not None

    def decode(self, path: str | None = None) -> None:
        """Decode the pixels unless they are there: about 6 ms per megapixel, so never on the event loop."""
        if self._im is not None:
            return
        with self._decoding:
            if self._im is None:
                pixels = _decode(self.encoded, path, self._limits)
                self._size = pixels.size
                self._im = pixels.im

    def hold(self) -> None:
        """One more who needs the pixels, once they are decoded."""
        with self._decoding:
            self._holders += 1

    def let_go(self) -> None:
        """One less; after the last, the pixels go. Whoever asks for them yet decodes them again."""
        with self._decoding:
            self._holders -= 1
            if not self._holders:
                self._im = None

    def load(self) -> Any:
        """Pillow's hook. Decodes on the first call."""
        self.decode()
        return super().load()


def prepare(limits: MediaLimits) -> None:
    """What Pillow needs once in a process; about 50 ms of imports, and two settings.

    Ours is the pixel limit that counts, checked on the header. Pillow's own guard (89 Mpx: a warning, 178 Mpx: an
    error) stays where it is, unless the operator allows larger images than it does. Its remarks on odd metadata
    and sizes are warnings about a client's bytes: silenced, as they would fill our log at a stranger's will.
    """
    Image.preinit()
    Image.init()
    warnings.filterwarnings("ignore", module=r"PIL\.")
    if Image.MAX_IMAGE_PIXELS is not None and limits.image_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = limits.image_pixels


def read_size(encoded: bytes, path: str, limits: MediaLimits) -> tuple[int, int]:
    """Width and height of the upright image, from its header. Raises MediaInvalid or MediaTooLarge.

    Some 0.02 ms as a rule, but a hostile header can take 100 ms (inflating text chunks): not for the event loop.
    """
    accepted = ", ".join(limits.formats)
    with _translated(f"The bytes are not an image (accepted: {accepted}), or its header is damaged.", path, limits):
        opened = _opened(encoded, path, limits)
        width, height = opened.size
        late = opened.format == "PNG" and _metadata_follows_pixels(encoded)
        if late:  # rare; only Pillow's reading of the whole file tells
            opened.load()
        return (height, width) if _swaps_sides(opened) else (width, height)


def _decode(encoded: bytes, path: str | None, limits: MediaLimits) -> Image.Image:
    with _translated("The image is damaged or cut short: its pixels cannot be decoded.", path, limits):
        opened = _opened(encoded, path, limits)
        opened.load()
        return _rgb(_upright(opened))


def _opened(encoded: bytes, path: str | None, limits: MediaLimits) -> Image.Image:
    opened = Image.open(BytesIO(encoded), formats=limits.formats)
    width, height = opened.size
    if width * height > limits.image_pixels:
        raise _too_many_pixels(limits, path)
    return opened


def _upright(opened: Image.Image) -> Image.Image:
    # Any exception means that there is no orientation worth following: so does vLLM's `normalize_image` decide.
    with contextlib.suppress(Exception):
        if opened.getexif().get(ExifTags.Base.Orientation, 1) in _TURNED:
            return ImageOps.exif_transpose(opened)
    return opened  # and not a copy, which is what exif_transpose makes: 26 ms of 12 megapixels


def _swaps_sides(opened: Image.Image) -> bool:
    with contextlib.suppress(Exception):
        if ExifTags.Base.Orientation in getattr(opened, "tag_v2", ()):
            return False  # TIFF: Pillow gives the upright size already
        # Not PngImageFile's override, which decodes the image to see what follows the pixels.
        return Image.Image.getexif(opened).get(ExifTags.Base.Orientation, 1) in _SIDEWAYS
    return False


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        image = image if image.mode == "RGBA" else image.convert("RGBA")
        white = Image.new("RGB", image.size, (255, 255, 255))
        white.paste(image, mask=image.getchannel("A"))
        return white
    return image.convert("RGB")


def _metadata_follows_pixels(png: bytes) -> bool:
    """Whether a PNG may state its orientation after its pixels, where reading the header does not see it."""
    position, pixels = 8, False
    for _ in range(_WALKED_CHUNKS):
        if position + 8 > len(png):
            return False
        length, kind = struct.unpack_from(">I4s", png, position)
        pixels = pixels or kind == b"IDAT"
        if pixels and kind == b"eXIf":
            return True
        if pixels and kind in {b"tEXt", b"zTXt", b"iTXt"}:
            text = png[position + 8 : position + 40]
            if text.startswith((b"Raw profile type exif", b"XML:com.adobe.xmp")):
                return True
        position += 12 + length
    return True


@contextlib.contextmanager
def _translated(sentence: str, path: str | None, limits: MediaLimits) -> Iterator[None]:
    """Whatever a parser throws at untrusted bytes, as an error of ours; its own text may hold an object's address."""
    try:
        yield
    except MediaError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_many_pixels(limits, path) from error
    except MemoryError as error:
        raise MediaTooLarge("The image needs more memory than this server has.", param=path) from error
    # Not only OSError and SyntaxError: struct.error, zlib.error, IndexError, OverflowError and more have been seen.
    except Exception as error:
        raise MediaInvalid(sentence, param=path) from error


def _too_many_pixels(limits: MediaLimits, path: str | None) -> MediaTooLarge:
    cure = "The operator can raise OPTION_MEDIA_MAX_PICTURE_PIXELS"
    return MediaTooLarge(f"The image has more than the {limits.image_pixels:,} pixels allowed. {cure}.", param=path)
