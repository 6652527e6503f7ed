"""A TIFF file -> nothing, or an error: whether it declares more than its image needs, before a parser believes it.

libtiff allocates a tile as large as the file says, whatever the size of the image; Pillow decodes as many strips as the
file lists, however few cover the image. Both read the first directory of the file, as this module does.
"""

import struct
from collections.abc import Mapping

from handler.errors import MediaInvalid, MediaTooLarge
from handler.media.dimensions import check_dimensions
from handler.media.limits import MediaLimits

_WIDTH, _HEIGHT, _STRIP_ROWS, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 278, 322, 323
_STRIPS, _TILES = 273, 324  # where each begins: as many values as there are strips or tiles
_NUMBERS = frozenset({_WIDTH, _HEIGHT, _STRIP_ROWS, _TILE_WIDTH, _TILE_HEIGHT})
_FORMATS = {1: "B", 3: "H", 4: "I", 16: "Q"}  # types of tags that are whole numbers, as struct writes them
_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">", b"II+\0": "<"}  # Pillow does not read BigTIFF in the other order
_MAX_LAYERS = 6  # samples of a pixel that Pillow reads, each of which may have strips of its own
_SMALL_TILE = 2**22  # pixels: a tile may be larger than its image, but writers use 256 x 256 to 1024 x 1024


def check_tiff(encoded: bytes, path: str | None, limits: MediaLimits) -> None:
    """Raises MediaInvalid or MediaTooLarge; where the header is damaged KeyError, ValueError or struct.error. Other
    formats than TIFF pass."""
    if encoded[:2] not in {b"II", b"MM"}:
        return
    tags = _read_tags(encoded)
    width, height = tags[_WIDTH], tags[_HEIGHT]
    check_dimensions(width, height, path, limits)
    if _TILES in tags:
        tile = tags.get(_TILE_WIDTH, 0), tags.get(_TILE_HEIGHT, 0)
        if tile[0] * tile[1] > max(width * height, _SMALL_TILE):
            raise MediaTooLarge(
                f"The TIFF image has {width:,} x {height:,} pixels in tiles of {tile[0]:,} x {tile[1]:,}. Save it without "
                "tiles.",
                param=path,
            )
        _check_count(tags[_TILES], (width, height), tile, path)
    if _STRIPS in tags:
        strip = width, min(tags.get(_STRIP_ROWS, height), height)
        _check_count(tags[_STRIPS], (width, height), strip, path)


def _check_count(count: int, image: tuple[int, int], piece: tuple[int, int], path: str | None) -> None:
    if not all((*image, *piece)):
        raise ValueError("a side is 0")
    needed = -(-image[0] // piece[0]) * -(-image[1] // piece[1]) * _MAX_LAYERS
    if count > needed:
        raise MediaInvalid(f"The TIFF image lists {count:,} parts, and has {needed:,} at most.", param=path)


def _read_tags(encoded: bytes) -> Mapping[int, int]:
    """The tags of the first directory that are known here: their value, or how many values those of _STRIPS and _TILES
    have. Raises ValueError, or struct.error where the file is too short."""
    order = _BYTE_ORDERS.get(encoded[:4])
    if order is None:
        raise ValueError("unknown byte order or version")
    big = encoded[2] == ord("+")
    (start,) = struct.unpack_from(order + ("Q" if big else "I"), encoded, 8 if big else 4)
    entry, inline = (order + "HHQ", 8) if big else (order + "HHI", 4)
    (entries,) = struct.unpack_from(order + ("Q" if big else "H"), encoded, start)
    start += 8 if big else 2
    tags: dict[int, int] = {}
    for position in range(start, start + entries * (struct.calcsize(entry) + inline), struct.calcsize(entry) + inline):
        tag, type_, count = struct.unpack_from(entry, encoded, position)
        if tag not in _NUMBERS | {_STRIPS, _TILES}:
            continue
        if tag in tags:  # parsers disagree about which one counts
            raise ValueError(f"tag {tag} is there twice")
        if tag in _NUMBERS:
            if count != 1 or type_ not in _FORMATS:
                raise ValueError(f"tag {tag} is not a number")
            count = struct.unpack_from(order + _FORMATS[type_], encoded, position + struct.calcsize(entry))[0]
        tags[tag] = count
    return tags
