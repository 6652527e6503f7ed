import functools
import io
import tarfile
import threading

import pytest

from container.model_store.address import Address
from container.model_store.archive import unpack
from container.model_store.background import Stopped
from container.model_store.s3 import connection
from container.model_store.s3_download import download
from handler.errors import StartError
from tests.s3_server import s3_served

PLENTY = 10**12
MODEL = {"config.json": b"{}", "code/inference.py": b"pass", "model.safetensors": b"weights" * 100_000}


def member(name, data=b"", **attributes):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for attribute, value in attributes.items():
        setattr(info, attribute, value)
    return info, io.BytesIO(data)


def archive(path, *members, mode="w:gz"):
    with tarfile.open(path, mode) as tar:
        for info, data in members:
            tar.addfile(info, data)
    return path


def files(directory):
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def unpacked(path, target, *, free=PLENTY, stop=None):
    unpack(path, target, lambda _: None, stop or threading.Event(), lambda _: free)
    return files(target)


@pytest.mark.parametrize("mode", ["w:gz", "w"])
def test_an_archive_becomes_its_files(tmp_path, mode):
    packed = archive(tmp_path / "m.tar.gz", *(member(name, data) for name, data in MODEL.items()), mode=mode)
    assert unpacked(packed, tmp_path / "out") == MODEL


def test_what_is_there_from_before_is_cleared(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "stale").write_text("")
    packed = archive(tmp_path / "m.tar.gz", member("./config.json", b"{}"))
    assert unpacked(packed, tmp_path / "out") == {"config.json": b"{}"}


EVIL = {
    "parent": member("../evil", b"x"),
    "deep parent": member("a/../../evil", b"x"),
    "symbolic link": member("link", type=tarfile.SYMTYPE, linkname="config.json"),
    "link to outside": member("link", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "hard link": member("link", type=tarfile.LNKTYPE, linkname="config.json"),
    "device": member("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
    "pipe": member("pipe", type=tarfile.FIFOTYPE),
}


@pytest.mark.parametrize("evil", EVIL)
def test_what_is_no_file_of_the_directory_is_refused(tmp_path, evil):
    packed = archive(tmp_path / "m.tar.gz", member("config.json", b"{}"), EVIL[evil])
    with pytest.raises(StartError, match=r"cannot be unpacked|which is a link"):
        unpacked(packed, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["m.tar.gz"]


def test_an_absolute_name_stays_inside(tmp_path):
    packed = archive(tmp_path / "m.tar.gz", member("/config.json", b"{}"))
    assert unpacked(packed, tmp_path / "out") == {"config.json": b"{}"}


def test_no_more_is_unpacked_than_the_disk_holds(tmp_path):
    packed = archive(tmp_path / "m.tar.gz", member("bomb", bytes(10**7)))
    with pytest.raises(StartError, match=r"file bomb of 10 MB does not fit .* only 70 MB are free"):
        unpacked(packed, tmp_path / "out", free=70 * 10**6)
    assert not (tmp_path / "out").exists()


def test_what_is_no_archive_or_half_of_one_is_refused(tmp_path):
    packed = archive(tmp_path / "m.tar.gz", member("config.json", bytes(range(256)) * 1000))
    packed.write_bytes(packed.read_bytes()[:1000])
    with pytest.raises(StartError, match=r"cannot be unpacked: .*; upload it again"):
        unpacked(packed, tmp_path / "out")
    packed.write_bytes(b"no archive" * 1000)
    with pytest.raises(StartError, match="upload it again"):
        unpacked(packed, tmp_path / "out")


def test_a_stop_leaves_nothing(tmp_path):
    packed = archive(tmp_path / "m.tar.gz", member("config.json", b"{}"))
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        unpacked(packed, tmp_path / "out", stop=stop)
    assert not (tmp_path / "out").exists()


# From S3.


@pytest.fixture
def s3():
    with s3_served() as store:
        yield store


def fetch(s3, cache, **named):
    connect = functools.partial(
        connection, endpoint_url=s3.url, aws_access_key_id="who", aws_secret_access_key="secret"
    )
    address = Address.parse("s3://bucket/model.tar.gz")
    return download(address, cache, lambda _: None, threading.Event(), connect=connect, **named)


@pytest.mark.parametrize("top", ["", "./", "llava/"])
def test_an_archive_on_s3_is_a_model_with_or_without_a_top_directory(s3, tmp_path, top):
    s3.put("model.tar.gz", archive(tmp_path / "m", *(member(top + name, data) for name, data in MODEL.items())))
    found = fetch(s3, tmp_path / "cache")
    assert files(found) == MODEL
    assert not list((tmp_path / "cache").rglob("*.tar.gz"))
    sent = s3.sent
    assert fetch(s3, tmp_path / "cache") == found
    assert s3.sent <= sent + 1  # the byte by which it is looked at


def test_an_archive_without_a_model_leaves_none(s3, tmp_path):
    s3.put("model.tar.gz", archive(tmp_path / "m", member("notes.txt", b"x")))
    with pytest.raises(StartError, match=r"it needs config.json or params.json, but there is notes.txt"):
        fetch(s3, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*/model-*"))


def test_an_archive_needs_room_for_what_is_in_it(s3, tmp_path):
    s3.put("model.tar.gz", archive(tmp_path / "m", member("config.json", bytes(10**7)), mode="w"))
    with pytest.raises(StartError, match=r"needs 20 MB more in .*, but only 15 MB are free"):
        fetch(s3, tmp_path / "cache", free=lambda _: 15 * 10**6)
