import hashlib

import pytest

from container.model_store.etag import MIB, ETag, part_bytes


def etag(data, size):
    digests = [hashlib.md5(data[i : i + size]).digest() for i in range(0, len(data), size)]
    return digests, f'"{hashlib.md5(b"".join(digests)).hexdigest()}-{len(digests)}"'


def test_an_etag_of_parts_is_the_md5_of_their_md5s():
    digests, text = etag(b"x" * 100, 30)
    assert ETag.parse(text).parts == 4
    assert ETag.parse(text).fits(digests)
    assert not ETag.parse(text).fits(digests[::-1])


def test_an_etag_of_one_piece_is_its_md5():
    tag = ETag.parse('"d41d8cd98f00b204e9800998ecf8427e"')
    assert tag.parts is None
    assert tag.fits([hashlib.md5(b"").digest()])
    assert not tag.fits([hashlib.md5(b"x").digest()])


@pytest.mark.parametrize("text", ["", '"abc"', 'W/"d41d8cd98f00b204e9800998ecf8427e"', '"0x8DC"'])
def test_an_etag_of_another_form_says_nothing(text):
    assert ETag.parse(text) is None


@pytest.mark.parametrize(
    ("size", "parts", "expected"),
    [
        (5_000_000_000, 597, 8 * MIB),
        (5_000_000_000, 299, 16 * MIB),
        (5_000_000_000, 954, 5 * MIB),
        (5_000_000_000, 48, 100 * MIB),
        (100 * MIB, 8, 13 * MIB),
        (1, 1, 8 * MIB),
        (10, 3, None),
        (0, 1, None),
    ],
)
def test_the_size_of_parts_is_guessed_from_how_many_they_are(size, parts, expected):
    assert part_bytes(size, parts) == expected
