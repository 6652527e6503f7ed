"""Small files that make a decoder work or allocate far more than their size says."""

import struct
import zlib
from collections.abc import Sequence

from tests.media_server import encode, gradient

_EOBRUN = "0" + "1" * 14  # 32,767 blocks of a progressive JPEG that add nothing


def png(width: int, height: int) -> bytes:
    """A black PNG of this size."""
    left, pieces, compressor = (width * 3 + 1) * height, [], zlib.compressobj(9)
    while left:
        pieces.append(compressor.compress(bytes(min(left, 2**20))))
        left -= min(left, 2**20)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = b"".join((*pieces, compressor.flush()))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def png_of_chunks(count: int) -> bytes:
    """A PNG with `count` empty chunks before its pixels."""
    whole = encode(gradient())
    return whole[:33] + _chunk(b"prVt", b"") * count + whole[33:]


def jpeg_of_markers(count: int, marker: bytes = b"\xff\xe5\0\2") -> bytes:
    """A JPEG with `count` empty segments before its pixels."""
    whole = encode(gradient(), "JPEG")
    return whole[:2] + marker * count + whole[2:]


def jpeg_of_resources(count: int) -> bytes:
    """A JPEG with `count` segments that are each full of empty resources of Photoshop."""
    content = b"Photoshop 3.0\0" + (b"8BIM\0\1" + bytes(6)) * 5000
    return jpeg_of_markers(count, b"\xff\xed" + struct.pack(">H", len(content) + 2) + content)


def jpeg_of_scans(side: int, count: int) -> bytes:
    """A progressive JPEG with `count` scans that each pass over all its blocks and change none."""
    blocks = (-(-side // 8)) ** 2
    bits = _EOBRUN * -(-blocks // 32_767)
    bits += "1" * (-len(bits) % 8)
    nothing = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    return b"".join(
        (
            b"\xff\xd8\xff\xdb" + struct.pack(">HB", 67, 0) + bytes([1] * 64),
            b"\xff\xc2" + struct.pack(">HBHHB", 11, 8, side, side, 1) + bytes([1, 0x11, 0]),
            b"\xff\xc4" + struct.pack(">HB", 20, 0x10) + bytes([1, *[0] * 15, 0xE0]),
            b"\xff\xc4" + struct.pack(">HB", 20, 0x00) + bytes([1, *[0] * 15, 0]),
            b"\xff\xda" + struct.pack(">HB", 8, 1) + bytes([1, 0, 0, 0, 0]) + bytes(-(-blocks // 8)),
            (b"\xff\xda" + struct.pack(">HB", 8, 1) + bytes([1, 0, 1, 63, 0]) + nothing) * (count - 1),
            b"\xff\xd9",
        )
    )


def run_length_bmp(width: int, height: int) -> bytes:
    """A BMP of 256 colours whose lines are one pixel and an end of line."""
    lines = b"\1\1\0\0" * height + b"\0\1"
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(lines), 0, 0, 256, 0)
    start = 14 + len(header) + 1024
    return b"BM" + struct.pack("<IHHI", start + len(lines), 0, 0, start) + header + bytes(1024) + lines


def tiff(tags: Sequence[tuple[int, int, int]], data: bytes = b"", *, order: str = "<") -> bytes:
    """A TIFF of these (tag, count, value); a value with a count above one is `data`'s place."""
    start = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(
        struct.pack(order + "HHII", tag, 3 if count > 1 else 4, count, start if count > 1 else value)
        for tag, count, value in tags
    )
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(order + "IH", 8, len(tags)) + entries + bytes(4) + data


def grey(width: int, height: int, compression: int = 1) -> list[tuple[int, int, int]]:
    """The tags of a grey TIFF of this size, without those of its strips or tiles."""
    return [(256, 1, width), (257, 1, height), (258, 1, 8), (259, 1, compression), (262, 1, 1), (277, 1, 1)]


def tiled_tiff(side: int, tile: int) -> bytes:
    """A TIFF of `side` x `side` pixels that declares one tile of `tile` x `tile`."""
    return tiff([*grey(side, side, 8), (322, 1, tile), (323, 1, tile), (324, 1, 8), (325, 1, 8)])


def tiff_of_strips(side: int, count: int) -> bytes:
    """A TIFF of two strips that lists `count`, all of which are the same bytes."""
    tags = [*grey(side, side), (273, count, 0), (278, 1, side // 2), (279, count, 0)]
    return tiff(tags, struct.pack("<H", 8) * count + bytes(side * side // 2))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
