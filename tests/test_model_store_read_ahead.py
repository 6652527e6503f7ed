import json
import os
import re
from collections import Counter
from pathlib import Path

import pytest

from container.model_store import Hub, Kind, Located
from container.model_store.read_ahead import WINDOW, read_ahead

SIZE = 8 * WINDOW


def weights(path, size=SIZE):
    with path.open("wb") as file:
        file.truncate(size)
    return path


def read(model, limit=10 * SIZE, kind=Kind.DIRECTORY, **hub):
    """How many windows of each file are read."""
    windows = []

    def record(descriptor, offset, _):
        windows.append((Path(f"/proc/self/fd/{descriptor}").readlink().name, offset))

    read_ahead(Located(kind, str(model), ("m",)), str(model), Hub(**hub), limit, record).join(20)
    assert len(windows) == len(set(windows)), "a window is read once"
    return dict(Counter(name for name, _ in windows))


def test_weights_are_read_once(tmp_path):
    for number in (1, 2):
        weights(tmp_path / f"model-{number}.safetensors")
    assert read(tmp_path) == {"model-1.safetensors": 8, "model-2.safetensors": 8}


def test_only_the_weights_that_the_engine_reads_are_read(tmp_path):
    for name in ("a.safetensors", "b.safetensors", "pytorch_model.bin"):
        weights(tmp_path / name)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": "a.safetensors"}}))
    assert read(tmp_path) == {"a.safetensors": 8}


def test_weights_that_do_not_fit_into_memory_are_not_read(tmp_path):
    for name in ("a.safetensors", "b.safetensors", "c.safetensors"):
        weights(tmp_path / name)
    assert read(tmp_path, limit=SIZE * 5 // 4) == {"a.safetensors": 8, "b.safetensors": 2}


def test_a_load_format_that_does_not_map_files_reads_them_itself(tmp_path):
    weights(tmp_path / "model.safetensors")
    assert read(tmp_path, load_format="runai_streamer") == {}


def test_a_file_that_cannot_be_read_does_not_stop_the_others(tmp_path):
    (tmp_path / "a.safetensors").mkdir()
    (tmp_path / "b.safetensors").symlink_to(tmp_path / "nothing")
    weights(tmp_path / "c.safetensors")
    assert read(tmp_path)["c.safetensors"] == 8


@pytest.mark.parametrize("index", ["", "[]", "{}", '{"weight_map": {"x": "not-there.safetensors"}}'])
def test_a_broken_model_is_left_to_the_engine(index, tmp_path):
    weights(tmp_path / "model.safetensors", 1)
    (tmp_path / "model.safetensors.index.json").write_text(index)
    assert read(tmp_path) in ({}, {"model.safetensors": 1})
    assert read(tmp_path / "nothing") == {}


def test_a_model_in_the_cache_of_the_hub_is_found_there(tmp_path):
    snapshot = tmp_path / "models--org--name" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (tmp_path / "models--org--name" / "refs").mkdir()
    (tmp_path / "models--org--name" / "refs" / "main").write_text("0" * 40)
    (snapshot / "config.json").write_text("{}")
    weights(snapshot / "model.safetensors")
    assert read("org/other", kind=Kind.HUB, download_dir=str(tmp_path)) == {}
    assert read("org/name", kind=Kind.HUB, download_dir=str(tmp_path)) == {"model.safetensors": 8}


# What the kernel reads.


def bytes_from_disk():
    """Bytes that the kernel has read from a disk for this process."""
    return int(re.search(r"(?m)^read_bytes: (\d+)", Path("/proc/self/io").read_text())[1])


def uncached(path):
    """A file that the page cache does not hold."""
    path.write_bytes(os.urandom(SIZE))
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return path


def kernel_reads(model):
    """In units of SIZE."""
    before = bytes_from_disk()
    read_ahead(Located(Kind.DIRECTORY, str(model), ("m",)), str(model), Hub(), 10 * SIZE).join(20)
    return (bytes_from_disk() - before) / SIZE


def test_files_are_read_from_the_disk_unless_they_are_in_memory(tmp_path):
    before = bytes_from_disk()
    uncached(tmp_path / "probe").read_bytes()
    if bytes_from_disk() - before < 0.7 * SIZE:
        pytest.skip("the kernel does not count what is read from this file system")
    (tmp_path / "model.safetensors").write_bytes(bytes(SIZE))
    assert kernel_reads(tmp_path) < 0.5
    uncached(tmp_path / "model.safetensors")
    assert 0.7 < kernel_reads(tmp_path) < 1.5
