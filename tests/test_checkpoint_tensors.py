"""Headers of safetensors, whole and broken."""

import json
import struct
from pathlib import Path

import pytest

from handler.checkpoint.files import DirectoryFiles
from handler.checkpoint.tensors import read_tensors
from handler.checkpoint.weight_files import INDEX
from handler.errors import StartError
from tests.checkpoints import safetensors, write_checkpoint

DEMO = Path(__file__).parent.parent / "demo" / "model"
ONE = {"a.weight": ("F32", (2, 3))}


def read(directory, *weights):
    return read_tensors(DirectoryFiles(directory), weights or ("model.safetensors",))


def test_the_tensors_are_those_that_the_library_reads():
    from safetensors import safe_open  # imports torch

    with safe_open(DEMO / "model.safetensors", "pt") as file:
        real = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
    found = {tensor.name: tensor for tensor in read(DEMO)}
    assert {name: tensor.shape for name, tensor in found.items()} == {n: tuple(t.shape) for n, t in real.items()}
    assert {name: tensor.bytes for name, tensor in found.items()} == {n: t.nbytes for n, t in real.items()}


def test_a_header_longer_than_the_first_read_is_read_whole(tmp_path):
    many = {f"layers.{number}.a.rather.long.name.weight": ("U8", (1,)) for number in range(5000)}
    (tmp_path / "model.safetensors").write_bytes(safetensors(many))
    assert len(read(tmp_path)) == 5000


def test_files_other_than_safetensors_have_no_headers(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    assert read(tmp_path, "pytorch_model.bin") == ()


HEADER = b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}'
BROKEN = {
    "empty": (b"", "not a safetensors file"),
    "pointer of Git LFS": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    "hostile length": (struct.pack("<Q", 2**63) + b"{}", "not a safetensors file"),
    "header cut": (struct.pack("<Q", 500) + b"{}", "truncated: its header alone has 508 bytes, the file 10"),
    "weights cut": (safetensors(ONE, cut=1), "truncated: its header promises"),
    "no JSON": (struct.pack("<Q", 4) + b"abcd", "broken header"),
    "JSON of another kind": (struct.pack("<Q", 2) + b"[]", "broken header"),
    "entry of another kind": (struct.pack("<Q", 8) + b'{"a": 1}', "broken header"),
    "bytes that do not fit the shape": (
        struct.pack("<Q", len(HEADER)) + HEADER.replace(b"[2]", b"[3]") + bytes(8),
        "the tensor a has 8 bytes for F32 [3]",
    ),
    "negative shape": (
        struct.pack("<Q", len(HEADER) + 1) + HEADER.replace(b"[2]", b"[-2]") + bytes(8),
        "broken header",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_refused_with_its_name(tmp_path, case):
    content, words = BROKEN[case]
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(StartError) as refusal:
        read(tmp_path)
    assert words in str(refusal.value)
    assert "model.safetensors" in str(refusal.value)


def sharded(directory, weight_map, **files):
    return write_checkpoint(directory, **{INDEX: {"weight_map": weight_map}, "model.safetensors": None, **files})


def test_the_files_of_an_index_are_read_together(tmp_path):
    parts = {"one.safetensors": safetensors(ONE), "two.safetensors": safetensors({"b": ("I32", (4,))})}
    sharded(tmp_path, {"a.weight": "one.safetensors", "b": "two.safetensors"}, **parts)
    assert [(tensor.name, tensor.file) for tensor in read(tmp_path, *parts)] == [
        ("a.weight", "one.safetensors"),
        ("b", "two.safetensors"),
    ]


def test_an_index_that_names_a_missing_file_is_refused(tmp_path):
    sharded(tmp_path, {"a.weight": "one.safetensors", "b": "two.safetensors"}, **{"one.safetensors": safetensors(ONE)})
    with pytest.raises(StartError, match=r"names two.safetensors, which is not there; upload the missing file"):
        read(tmp_path, "one.safetensors")


def test_an_index_that_names_a_missing_tensor_is_refused(tmp_path):
    sharded(tmp_path, {"b": "one.safetensors"}, **{"one.safetensors": safetensors(ONE)})
    with pytest.raises(StartError, match=r"the tensor b is in one.safetensors, but it is not"):
        read(tmp_path, "one.safetensors")


@pytest.mark.parametrize("content", [b"{", b"[]", json.dumps({"weight_map": {"a": 1}}).encode()])
def test_a_broken_index_is_refused(tmp_path, content):
    write_checkpoint(tmp_path, **{INDEX: content})
    with pytest.raises(StartError, match=INDEX):
        read(tmp_path)
