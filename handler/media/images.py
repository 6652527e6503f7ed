"""Encoded bytes -> LazyImage: the upright RGB image; its size is known at once, its pixels are decoded on demand.

The pixels equal those of vLLM's `ImageMediaIO.load_bytes` (vllm/multimodal/media/image.py): EXIF orientation applied,
transparency over white. One difference is on purpose: vLLM ignores a first decoding error and may pass a half-decoded
image to the model; here a damaged image is an error.
"""

import contextlib
import struct
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakValueDictionary

from blake3 import blake3
from PIL import ExifTags, Image, ImageOps

from handler.errors import MediaError, MediaInvalid, MediaTooLarge
from handler.media.decoding_work import BoundedFile, check_decoding_work
from handler.media.dimensions import check_dimensions, too_many_pixels
from handler.media.limits import MediaLimits
from handler.media.references import too_many_bytes
from handler.media.tiff import check_tiff

_SIDEWAYS = frozenset({5, 6, 7, 8})  # EXIF orientations that swap width and height
_ROTATED = frozenset({2, 3, 4}) | _SIDEWAYS
_MAX_PNG_CHUNKS = 2**16  # that are looked at: a real 20 MB file has at most a few thousand


class LazyImage(Image.Image):
    """A Pillow image of mode RGB that decodes itself, once, on the first `load()`, which all of Pillow's methods call.

    Thread-safe. `load()` raises MediaInvalid or MediaTooLarge, without a JSON path; `decode(path)` with it.
    """

    def __init__(self, encoded: bytes, digest: str, size: tuple[int, int], limits: MediaLimits) -> None:
        super().__init__()
        self._mode = "RGB"
        self._size = size
        self._limits = limits
        self._decoding = threading.Lock()
        self._counting = threading.Lock()  # not held while decoding, so that the event loop never waits for it
        self._holders = 0
        self.encoded = encoded
        self.digest = digest

    @property
    def decoded(self) -> bool:
        """Whether the pixels are in memory."""
        return self._im is not None

    def decode(self, path: str | None = None) -> None:
        """Decode the pixels unless they are in memory: about 6 ms per megapixel, so never on the event loop."""
        if self._im is not None:
            return
        damaged = "The image is damaged or truncated: its pixels cannot be decoded."
        with self._decoding:
            if self._im is None:
                with _open_image(self.encoded, path, self._limits, damaged) as opened:
                    pixels = _normalize(opened)
                self._size = pixels.size
                self._im = pixels.im

    def hold(self, then: Callable[[], None]) -> Callable[[], None]:
        """Keep the pixels, once decoded, until the returned function is called, which calls `then`; a second call has
        no effect. After the last holder the pixels are freed; a later `load()` decodes again."""
        with self._counting:
            self._holders += 1
        pending = [then]

        def release() -> None:
            with self._counting:
                if not pending:
                    return
                then = pending.pop()
                self._holders -= 1
                if not self._holders:
                    self._im = None
            then()

        return release

    def load(self) -> Any:
        """Pillow's hook. Decodes on the first call."""
        self.decode()
        return super().load()


class ImageCache:
    """One object per image, in however many parts, turns and concurrent requests it is: decoded once, parsed once.

    Keeps no image alive: after the last request that uses it, only its size is kept, so that the next turn of the
    conversation does not parse its header again. Thread-safe.
    """

    def __init__(self, limits: MediaLimits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._live: WeakValueDictionary[str, LazyImage] = WeakValueDictionary()
        self._sizes: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def find(self, digest: str, encoded: bytes) -> LazyImage | None:
        """The image, if its size is known. Takes a microsecond."""
        with self._lock:
            image = self._live.get(digest)
            if image is None and (size := self._sizes.get(digest)) is not None:
                self._sizes.move_to_end(digest)
                image = self._live[digest] = LazyImage(encoded, digest, size, self._limits)
            return image

    def open(self, encoded: bytes, path: str) -> LazyImage:
        """The image; a new one's header is parsed, so not for the event loop. Raises MediaInvalid or MediaTooLarge."""
        if not encoded:
            raise MediaInvalid("The image is empty.", param=path)
        if len(encoded) > self._limits.image_bytes:
            raise too_many_bytes(self._limits, path)
        digest = blake3(encoded).hexdigest()
        if (image := self.find(digest, encoded)) is not None:
            return image
        image = LazyImage(encoded, digest, read_size(encoded, path, self._limits), self._limits)
        with self._lock:
            self._sizes[digest] = image.size
            if len(self._sizes) > self._limits.remembered_images:
                self._sizes.popitem(last=False)
            return self._live.setdefault(digest, image)


def init_pillow(limits: MediaLimits) -> None:
    """Load Pillow's plugins and set its limits, once in a process; about 50 ms of imports.

    Our own pixel limit is checked on the header. Pillow's guard (89 Mpx: a warning, 178 Mpx: an error) stays unless the
    operator allows larger images. Its warnings about odd metadata and sizes are silenced: they are about a client's
    bytes, and any client could fill the log with them.
    """
    Image.preinit()
    Image.init()
    warnings.filterwarnings("ignore", module=r"PIL\.")
    if Image.MAX_IMAGE_PIXELS is not None and limits.image_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = limits.image_pixels


def read_size(encoded: bytes, path: str, limits: MediaLimits) -> tuple[int, int]:
    """Width and height of the upright image, from its header. Raises MediaInvalid or MediaTooLarge.

    Takes about 0.02 ms, but a hostile header can take 100 ms (inflating text chunks): not for the event loop.
    """
    accepted = ", ".join(limits.formats)
    not_an_image = f"The bytes are not an image (accepted: {accepted}), or its header is damaged."
    with _open_image(encoded, path, limits, not_an_image) as opened:
        width, height = opened.size
        check_dimensions(width, height, path, limits)
        check_decoding_work(opened, encoded, path, limits)
        if opened.format == "PNG" and _metadata_follows_pixels(encoded):
            opened.load()  # rare; Pillow finds the orientation only by reading the whole file
        return (height, width) if _is_sideways(opened) else (width, height)


@contextlib.contextmanager
def _open_image(encoded: bytes, path: str | None, limits: MediaLimits, fault: str) -> Iterator[Image.Image]:
    """The image as Pillow opens it. Whatever a parser raises on untrusted bytes becomes our error with the message
    `fault`: Pillow's own text may contain an object's address."""
    try:
        check_tiff(encoded, path, limits)
        yield Image.open(BoundedFile(encoded, path), formats=limits.formats)
    except MediaError:
        raise
    except Image.DecompressionBombError as error:
        raise too_many_pixels(path, limits) from error
    except MemoryError as error:
        raise MediaTooLarge("The image needs more memory than this server has.", param=path) from error
    # Not only OSError and SyntaxError: struct.error, zlib.error, IndexError, OverflowError and more are raised.
    except Exception as error:
        raise MediaInvalid(fault, param=path) from error


def _normalize(opened: Image.Image) -> Image.Image:
    """Upright and RGB, as vLLM's `normalize_image` makes it."""
    opened.load()
    image = opened
    # Without a valid orientation the image stays as it is. exif_transpose would copy it: 26 ms of 12 megapixels.
    with contextlib.suppress(Exception):
        if opened.getexif().get(ExifTags.Base.Orientation, 1) in _ROTATED:
            image = ImageOps.exif_transpose(opened)
    if image.mode == "RGB":
        return image
    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        image = image if image.mode == "RGBA" else image.convert("RGBA")
        white = Image.new("RGB", image.size, (255, 255, 255))
        white.paste(image, mask=image.getchannel("A"))
        return white
    return image.convert("RGB")


def _is_sideways(opened: Image.Image) -> bool:
    with contextlib.suppress(Exception):
        if ExifTags.Base.Orientation in getattr(opened, "tag_v2", ()):
            return False  # TIFF: Pillow gives the upright size already
        # Not PngImageFile's override, which decodes the image to see what follows the pixels.
        return Image.Image.getexif(opened).get(ExifTags.Base.Orientation, 1) in _SIDEWAYS
    return False


def _metadata_follows_pixels(png: bytes) -> bool:
    """Whether a PNG may contain its orientation after its pixels, where reading the header does not find it."""
    position, pixels = 8, False
    for _ in range(_MAX_PNG_CHUNKS):
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
