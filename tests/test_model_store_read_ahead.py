import ctypes
import json
import mmap
import os

import pytest

from container.model_store import Hub, Kind, Located
from container.model_store.read_ahead import read_ahead

MIB = 2**20
SIZE = 8 * MIB


def cold(path):
    """A file of weights that the page cache does not hold."""
    path.write_bytes(os.urandom(SIZE))
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if warm(path):
        pytest.skip("this file system keeps in memory what it is told to drop")
    return path


def warm(path):
    """Which MiB of the file are in memory, as mincore(2) says of the page in the middle of each."""
    pages = (ctypes.c_ubyte * (SIZE // mmap.PAGESIZE))()
    with path.open("rb") as file, mmap.mmap(file.fileno(), SIZE, access=mmap.ACCESS_COPY) as mapped:
        start = ctypes.c_char.from_buffer(mapped)
        failed = ctypes.CDLL(None).mincore(ctypes.c_void_p(ctypes.addressof(start)), ctypes.c_size_t(SIZE), pages)
        del start
    assert not failed
    return {at for at in range(SIZE // MIB) if pages[(at * MIB + MIB // 2) // mmap.PAGESIZE] & 1}


def read(directory, most=10 * SIZE, load_format="auto"):
    located = Located(Kind.DIRECTORY, str(directory), ("m",))
    read_ahead(located, str(directory), Hub(load_format=load_format), most).join(20)


EVERYTHING = set(range(SIZE // MIB))


def test_weights_are_in_memory_before_anybody_maps_them(tmp_path):
    files = [cold(tmp_path / f"model-{number}.safetensors") for number in (1, 2)]
    read(tmp_path)
    assert [warm(file) for file in files] == [EVERYTHING, EVERYTHING]


def test_only_the_weights_that_the_engine_reads_are_read(tmp_path):
    wanted, twin, older = (cold(tmp_path / name) for name in ("a.safetensors", "b.safetensors", "pytorch_model.bin"))
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": "a.safetensors"}}))
    read(tmp_path)
    assert (warm(wanted), warm(twin), warm(older)) == (EVERYTHING, set(), set())


def test_what_does_not_fit_into_memory_is_left(tmp_path):
    first, second = (cold(tmp_path / name) for name in ("a.safetensors", "b.safetensors"))
    read(tmp_path, most=SIZE + 2 * MIB)
    assert warm(first) == EVERYTHING
    assert {0, 1} <= warm(second) < EVERYTHING


def test_a_format_that_does_not_map_its_files_reads_them_itself(tmp_path):
    file = cold(tmp_path / "model.safetensors")
    read(tmp_path, load_format="runai_streamer")
    assert warm(file) == set()


@pytest.mark.parametrize("index", ["", "[]", "{}", '{"weight_map": {"x": "not-there.safetensors"}}'])
def test_a_model_that_is_broken_is_left_to_the_engine(index, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"1")
    (tmp_path / "model.safetensors.index.json").write_text(index)
    read(tmp_path)
    read(tmp_path / "nothing")


def test_a_model_in_the_cache_of_the_hub_is_found_there(tmp_path):
    snapshot = tmp_path / "models--org--name" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (tmp_path / "models--org--name" / "refs").mkdir()
    (tmp_path / "models--org--name" / "refs" / "main").write_text("0" * 40)
    (snapshot / "config.json").write_text("{}")
    file = cold(snapshot / "model.safetensors")
    read_ahead(Located(Kind.HUB, "org/name", ()), "org/name", Hub(download_dir=str(tmp_path)), SIZE).join(20)
    assert warm(file) == EVERYTHING
    read_ahead(Located(Kind.HUB, "org/other", ()), "org/other", Hub(download_dir=str(tmp_path)), SIZE).join(20)
