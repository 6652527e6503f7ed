import hashlib
import json

import pytest

from container.model_store.etag import MIB, ETag, part_bytes
from container.model_store.journal import Journal

MD5S = [hashlib.md5(bytes([i])).digest() for i in range(3)]


def written(path):
    journal = Journal(path)
    journal.begin("a", "tag", 100, 10)
    journal.arrived("a", 0, MD5S)
    journal.arrived("a", 30, MD5S[:1])
    journal.close()


def known(path):
    journal = Journal(path)
    journal.close()
    return {name: entry.ranges for name, entry in journal.entries.items()}


def test_what_arrived_is_known_to_the_next_start(tmp_path):
    written(tmp_path / "journal")
    assert known(tmp_path / "journal") == {"a": {0: MD5S, 30: MD5S[:1]}}
    assert known(tmp_path / "journal") == {"a": {0: MD5S, 30: MD5S[:1]}}


def test_a_line_that_a_crash_has_torn_is_not_believed(tmp_path):
    path = tmp_path / "journal"
    written(path)
    path.write_bytes(path.read_bytes()[:-10])
    assert known(path) == {"a": {0: MD5S}}
    assert known(path) == {"a": {0: MD5S}}


def test_a_file_that_was_begun_anew_has_nothing(tmp_path):
    written(tmp_path / "journal")
    journal = Journal(tmp_path / "journal")
    journal.begin("a", "other", 100, 10)
    journal.close()
    assert known(tmp_path / "journal") == {"a": {}}


def test_what_another_boot_has_written_may_be_lost_and_is_not_believed(tmp_path):
    path = tmp_path / "journal"
    written(path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(json.dumps({"boot": "another"}) if "boot" in line else line for line in lines))
    assert known(path) == {}
    written(path)
    assert known(path) == {"a": {0: MD5S, 30: MD5S[:1]}}


def etag(data, size):
    digests = [hashlib.md5(data[i : i + size]).digest() for i in range(0, len(data), size)]
    return digests, f'"{hashlib.md5(b"".join(digests)).hexdigest()}-{len(digests)}"'


def test_an_etag_of_parts_is_the_md5_of_their_md5s():
    digests, text = etag(b"x" * 100, 30)
    assert ETag.parsed(text).parts == 4
    assert ETag.parsed(text).fits(digests)
    assert not ETag.parsed(text).fits(digests[::-1])


def test_an_etag_of_one_piece_is_its_md5():
    tag = ETag.parsed('"d41d8cd98f00b204e9800998ecf8427e"')
    assert tag.parts is None
    assert tag.fits([hashlib.md5(b"").digest()])
    assert not tag.fits([hashlib.md5(b"x").digest()])


@pytest.mark.parametrize("text", ["", '"abc"', 'W/"d41d8cd98f00b204e9800998ecf8427e"', '"0x8DC"'])
def test_an_etag_of_another_form_says_nothing(text):
    assert ETag.parsed(text) is None


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
