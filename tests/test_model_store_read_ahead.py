import json
import os
import re
from pathlib import Path

import pytest

from container.model_store import Hub, Kind, Located
from container.model_store.read_ahead import read_ahead

SIZE = 8 * 2**20


def cold(path):
    """A file of weights that the page cache does not hold."""
    path.write_bytes(os.urandom(SIZE))
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return path


def from_disk():
    """Bytes that this process has had read from a disk. What is in memory later depends on the machine's other work."""
    return int(re.search(r"(?m)^read_bytes: (\d+)", Path("/proc/self/io").read_text())[1])


@pytest.fixture(autouse=True)
def disk(tmp_path):
    before = from_disk()
    cold(tmp_path / "probe").read_bytes()
    if from_disk() - before < 0.7 * SIZE:
        pytest.skip("what is read of this file system is not counted")
    (tmp_path / "probe").unlink()


def read(model, most=10 * SIZE, kind=Kind.DIRECTORY, **hub):
    """The files that were read, in units of their size: a little less where the page cache kept a part."""
    before = from_disk()
    read_ahead(Located(kind, str(model), ("m",)), str(model), Hub(**hub), most).join(20)
    return (from_disk() - before) / SIZE


def test_weights_are_read_before_anybody_maps_them_and_not_twice(tmp_path):
    for number in (1, 2):
        cold(tmp_path / f"model-{number}.safetensors")
    assert 1.7 < read(tmp_path) < 2.5


def test_what_is_in_memory_already_is_not_read(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(bytes(SIZE))
    assert read(tmp_path) < 0.5


def test_only_the_weights_that_the_engine_reads_are_read(tmp_path):
    for name in ("a.safetensors", "b.safetensors", "pytorch_model.bin"):
        cold(tmp_path / name)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": "a.safetensors"}}))
    assert 0.7 < read(tmp_path) < 1.5


def test_what_does_not_fit_into_memory_is_left(tmp_path):
    for name in ("a.safetensors", "b.safetensors", "c.safetensors"):
        cold(tmp_path / name)
    assert 1 < read(tmp_path, most=SIZE * 5 // 4) < 2.5  # the kernel reads on in the file that it is in


def test_a_format_that_does_not_map_its_files_reads_them_itself(tmp_path):
    cold(tmp_path / "model.safetensors")
    assert read(tmp_path, load_format="runai_streamer") < 0.5


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
    read("org/other", kind=Kind.HUB, download_dir=str(tmp_path))  # imports the hub's library
    cold(snapshot / "model.safetensors")
    assert 0.7 < read("org/name", kind=Kind.HUB, download_dir=str(tmp_path)) < 1.5
