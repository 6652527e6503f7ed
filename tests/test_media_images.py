import gc
import io
import pickle
import random
import struct
import threading
import warnings
import weakref
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from blake3 import blake3
from PIL import ExifTags, Image, ImageOps

from handler.errors import MediaError, MediaInvalid, MediaTooLarge
from handler.media.images import ImageCache, LazyImage, init_pillow, read_size
from handler.media.limits import MediaLimits
from tests.media_server import encode, gradient

PATH = "messages[0].content[1].image_url.url"
LIMITS = MediaLimits()
PHOTO = gradient(32, 20)


@pytest.fixture(autouse=True)
def _pillow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)  # `init_pillow` may raise it
    with warnings.catch_warnings():  # ... and adds a filter
        init_pillow(LIMITS)
        yield


def lazy(encoded: bytes, limits: MediaLimits = LIMITS) -> LazyImage:
    return LazyImage(encoded, "digest", read_size(encoded, PATH, limits), limits)


def expected(encoded: bytes) -> Image.Image:
    """What vLLM's loader gives for the same bytes, written with Pillow alone."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded)))
    if image.mode == "RGB":
        return image
    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, (255, 255, 255))
        white.paste(image, mask=image.split()[3])
        return white
    return image.convert("RGB")


def rotated(format_: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return encode(PHOTO, format_, exif=exif)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def before_iend(png: bytes, extra: bytes) -> bytes:
    return png[:-12] + extra + png[-12:]


def after_ihdr(png: bytes, extra: bytes) -> bytes:
    return png[:33] + extra + png[33:]


def translucent() -> Image.Image:
    image = PHOTO.convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(PHOTO.size))
    return image


def palette(**options: Any) -> bytes:
    return encode(PHOTO.quantize(16), "PNG", **options)


def rgb16() -> bytes:
    rows = b"".join(b"\0" + random.Random(row).randbytes(8 * 6) for row in range(4))
    header = struct.pack(">IIBBBBB", 8, 4, 16, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def frames(format_: str, **options: Any) -> bytes:
    return encode(PHOTO, format_, save_all=True, append_images=[gradient(32, 20, shift=99)], **options)


def gif_frame_beyond_its_screen() -> bytes:
    gif = bytearray(encode(PHOTO.quantize(16), "GIF"))
    gif[6:10] = struct.pack("<HH", 5, 5)
    return bytes(gif)


XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
ORIENTATION_6 = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
KINDS = {
    "rgb jpeg": encode(PHOTO, "JPEG"),
    "progressive jpeg": encode(PHOTO, "JPEG", progressive=True),
    "grey jpeg": encode(PHOTO.convert("L"), "JPEG"),
    "cmyk jpeg": encode(PHOTO.convert("CMYK"), "JPEG"),
    "mpo": frames("MPO"),
    "jpeg with xmp orientation": encode(PHOTO, "JPEG", xmp=XMP),
    "rgb png": encode(PHOTO),
    "rgba png": encode(translucent()),
    "la png": encode(translucent().convert("LA")),
    "palette png": palette(),
    "palette png, one transparent": palette(transparency=3),
    "palette png, alphas": palette(transparency=bytes(range(0, 256, 16))),
    "rgb png, transparent colour": encode(PHOTO, transparency=PHOTO.getpixel((0, 0))),
    "grey png": encode(PHOTO.convert("L")),
    "grey png, transparent level": encode(PHOTO.convert("L"), transparency=77),
    "bilevel png": encode(PHOTO.convert("1")),
    "16-bit grey png": encode(Image.fromarray(np.arange(640, dtype=np.uint16).reshape(20, 32) * 100)),
    "16-bit rgb png": rgb16(),
    "animated png": frames("PNG"),
    "png with late exif": before_iend(encode(PHOTO), chunk(b"eXIf", ORIENTATION_6)),
    "png with late xmp": before_iend(encode(PHOTO), chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)),
    "png with late comment": before_iend(encode(PHOTO), chunk(b"tEXt", b"Comment\0late")),
    "png with xmp": after_ihdr(encode(PHOTO), chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)),
    "gif": encode(PHOTO.quantize(16), "GIF"),
    "transparent gif": encode(PHOTO.quantize(16), "GIF", transparency=2),
    "animated gif": frames("GIF", duration=50),
    "gif frame beyond its screen": gif_frame_beyond_its_screen(),
    "webp": encode(PHOTO, "WEBP"),
    "lossless rgba webp": encode(translucent(), "WEBP", lossless=True),
    "animated webp": frames("WEBP"),
    "bmp": encode(PHOTO, "BMP"),
    "palette bmp": encode(PHOTO.quantize(16), "BMP"),
    "rgba bmp": encode(translucent(), "BMP"),
    "tiff": encode(PHOTO, "TIFF"),
    "tiff, lzw": encode(PHOTO, "TIFF", compression="tiff_lzw"),
    "tiff, fax": encode(PHOTO.convert("1"), "TIFF", compression="group4"),
    "tiff, float": encode(PHOTO.convert("F"), "TIFF"),
    "tiff, 32-bit": encode(PHOTO.convert("I"), "TIFF"),
    "tiff, 16-bit": encode(Image.fromarray(np.arange(640, dtype=np.uint16).reshape(20, 32) * 100), "TIFF"),
    "tiff, pages": frames("TIFF"),
    "tiff with xmp orientation": encode(PHOTO, "TIFF", tiffinfo={700: XMP}),
    **{f"{format_} rotated {n}": rotated(format_, n) for format_ in ("JPEG", "PNG", "WEBP", "TIFF") for n in range(10)},
}


@pytest.mark.parametrize("encoded", KINDS.values(), ids=KINDS.keys())
def test_pixels_and_size_equal_those_of_vllm(encoded: bytes):
    image, wanted = lazy(encoded), expected(encoded)
    assert (image.mode, image.size, image.decoded) == ("RGB", wanted.size, False)
    assert image.tobytes() == wanted.tobytes()
    assert (image.mode, image.size, image.decoded) == ("RGB", wanted.size, True)


def test_all_of_pillow_and_numpy_work_on_an_image_not_yet_decoded():
    encoded = KINDS["JPEG rotated 6"]
    wanted = expected(encoded)
    uses = {
        "resize": lambda image: image.resize((7, 9)).tobytes(),
        "convert": lambda image: image.convert("L").tobytes(),
        "crop": lambda image: image.crop((1, 2, 9, 9)).tobytes(),
        "copy": lambda image: image.copy().tobytes(),
        "getpixel": lambda image: image.getpixel((3, 4)),
        "split": lambda image: [band.tobytes() for band in image.split()],
        "transpose": lambda image: ImageOps.exif_transpose(image).tobytes(),
        "array": lambda image: np.asarray(image).tobytes(),
        "pickle": lambda image: pickle.loads(pickle.dumps(image)).tobytes(),
        "save": encode,
    }
    for name, use in uses.items():
        assert use(lazy(encoded)) == use(wanted), name


def test_many_threads_decode_once():
    image = lazy(encode(gradient(600, 400), "JPEG"))
    together = threading.Barrier(8)
    seen = []

    def work() -> None:
        together.wait()
        image.load()
        seen.append(image.im)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8
    assert all(pixels is seen[0] for pixels in seen)


@pytest.mark.parametrize(
    "data", [b"", b"x", b"hello world" * 9, b"<svg/>", b"%PDF-1.7", b"\xff\xd8\xff", b"II*\0", b"BM"]
)
def test_bytes_that_are_not_an_image_name_the_accepted_formats_and_no_address(data: bytes):
    with pytest.raises(MediaInvalid, match="not an image") as caught:
        read_size(data, PATH, LIMITS)
    assert "JPEG, PNG, WEBP, GIF, BMP, TIFF" in str(caught.value)
    assert "0x" not in str(caught.value)
    assert caught.value.param == PATH


@pytest.mark.parametrize("format_", ["PPM", "TGA", "ICO", "JPEG2000", "PCX", "EPS"])
def test_formats_that_are_not_listed_are_not_read(format_: str):
    with pytest.raises(MediaInvalid, match="not an image"):
        read_size(encode(PHOTO, format_), PATH, LIMITS)


@pytest.mark.parametrize("kind", ["rgb jpeg", "rgb png", "gif", "webp", "bmp", "tiff", "tiff, lzw"])
def test_a_truncated_image_is_an_error_with_the_path_once_decoded(kind: str):
    encoded = KINDS[kind]
    cut = LazyImage(encoded[: len(encoded) * 2 // 3], "digest", PHOTO.size, LIMITS)
    with pytest.raises(MediaInvalid) as caught:
        cut.decode(PATH)
    assert caught.value.param == PATH
    with pytest.raises(MediaInvalid):
        cut.resize((3, 3))
    assert not cut.decoded


def test_pixels_over_the_limit_are_rejected_by_the_header():
    assert read_size(KINDS["rgb jpeg"], PATH, MediaLimits(image_pixels=640)) == (32, 20)
    for encoded in KINDS.values():
        with pytest.raises(MediaTooLarge, match="31 pixels") as caught:
            read_size(encoded, PATH, MediaLimits(image_pixels=31))
        assert caught.value.param == PATH


def claiming(format_: str, width: int, height: int) -> bytes:
    encoded = bytearray(encode(PHOTO.quantize(16) if format_ == "GIF" else PHOTO, format_))
    if format_ == "PNG":
        encoded[16:24] = struct.pack(">II", width, height)
        encoded[29:33] = struct.pack(">I", zlib.crc32(encoded[12:29]))
    elif format_ == "GIF":
        encoded[6:10] = struct.pack("<HH", width, height)
    elif format_ == "BMP":
        encoded[18:26] = struct.pack("<II", width, height)
    elif format_ == "JPEG":
        at = encoded.index(b"\xff\xc0") + 5
        encoded[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(encoded)


@pytest.mark.parametrize("format_", ["PNG", "GIF", "BMP", "JPEG"])
@pytest.mark.parametrize("side", [8_000, 10_000, 20_000, 65_000])
def test_decompression_bombs_exceed_our_limit_without_a_warning_of_pillow(format_: str, side: int):
    with pytest.raises(MediaTooLarge, match=r"50,000,000 pixels .* OPTION_MEDIA_MAX_PICTURE_PIXELS"):
        read_size(claiming(format_, side, side), PATH, LIMITS)


def test_an_operator_may_allow_more_pixels_than_pillow_does():
    limits = MediaLimits(image_pixels=500_000_000)
    init_pillow(limits)
    assert read_size(claiming("PNG", 20_000, 20_000), PATH, limits) == (20_000, 20_000)
    with pytest.raises(MediaTooLarge, match="500,000,000"):
        read_size(claiming("PNG", 30_000, 30_000), PATH, limits)


def test_text_chunks_that_inflate_too_far_are_an_error():
    bomb = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(3_000_000)))
    with pytest.raises(MediaError):
        read_size(after_ihdr(KINDS["rgb png"], bomb), PATH, LIMITS)
    with pytest.raises(MediaError):
        lazy(before_iend(KINDS["rgb png"], bomb)).load()


@pytest.mark.parametrize(
    "kind",
    [
        "rgb jpeg",
        "JPEG rotated 6",
        "rgba png",
        "animated png",
        "animated gif",
        "animated webp",
        "bmp",
        "palette bmp",
        "tiff",
        "tiff, lzw",
        "mpo",
    ],
)
def test_damaged_bytes_raise_media_errors_only(kind: str):
    original = KINDS[kind]
    small = MediaLimits(image_pixels=1_000_000)
    for seed in range(150):
        rng = random.Random(seed)
        damaged = bytearray(original)
        for _ in range(rng.randint(1, 12)):
            # Headers are where parsers go astray, so half of the damage goes there.
            damaged[rng.randrange(min(200, len(damaged)) if rng.random() < 0.5 else len(damaged))] = rng.randrange(256)
        if rng.random() < 0.2:
            del damaged[rng.randrange(len(damaged)) :]
        try:
            lazy(bytes(damaged), small).load()
        except MediaError as error:
            assert "0x" not in str(error)  # noqa: PT017


def digest(encoded: bytes) -> str:
    return blake3(encoded).hexdigest()


def png(number: int) -> bytes:
    return encode(gradient(32, 20, shift=number))


def test_a_live_image_is_shared_and_a_dead_one_is_freed():
    cache = ImageCache(LIMITS)
    first = cache.open(png(1), PATH)
    first.load()
    assert cache.open(png(1), PATH) is first
    gone = weakref.ref(first)
    del first
    gc.collect()
    assert gone() is None
    assert not cache.open(png(1), PATH).decoded


def test_the_size_of_an_image_is_found_again_without_its_header():
    cache = ImageCache(LIMITS)
    assert cache.find(digest(png(1)), png(1)) is None
    size = cache.open(png(1), PATH).size
    found = cache.find(digest(png(1)), b"not parsed again")
    assert found is not None
    assert found.size == size


def test_the_sizes_of_the_images_used_last_are_kept():
    cache = ImageCache(MediaLimits(remembered_images=2))
    for number in (1, 2, 1, 3):
        cache.open(png(number), PATH)
    assert [cache.find(digest(png(number)), png(number)) is not None for number in (1, 2, 3)] == [True, False, True]


def test_a_live_image_is_shared_though_no_size_is_kept():
    cache = ImageCache(MediaLimits(remembered_images=0))
    image = cache.open(png(1), PATH)
    assert image.size == (32, 20)
    assert cache.open(png(1), PATH) is image


def test_holding_an_image_does_not_wait_for_its_decoding(monkeypatch: pytest.MonkeyPatch):
    """The event loop holds and releases images while another request decodes the same one in a thread."""
    decoding, opened = threading.Event(), threading.Event()

    def slow_open(*_: Any, **__: Any) -> Image.Image:
        decoding.set()
        assert opened.wait(10)
        return PHOTO

    image = lazy(png(1))
    monkeypatch.setattr(Image, "open", slow_open)
    thread = threading.Thread(target=image.decode)
    thread.start()
    assert decoding.wait(10)
    calls: list[None] = []
    release = image.hold(lambda: calls.append(None))
    release()
    release()
    assert (len(calls), image.decoded) == (1, False)
    opened.set()
    thread.join()
