import pytest

from handler.adapters.files import Change, read_adapter_files
from handler.errors import InvalidRequest
from tests.adapter_cases import LAYER, SHAPES, tensors, write_adapter


def refused(directory):
    with pytest.raises(InvalidRequest) as caught:
        read_adapter_files(directory)
    assert caught.value.param == "src"
    assert caught.value.code == "adapter_invalid"
    return str(caught.value)


def test_what_an_adapter_changes_is_read_from_its_files(tmp_path):
    files = read_adapter_files(write_adapter(tmp_path, base_model_name_or_path="some/base"))
    assert (files.rank, files.base) == (4, "some/base")
    assert files.changes == {LAYER.removeprefix("base_model.model."): Change(inputs=16, outputs=16, rank=4)}


def test_the_largest_rank_of_a_pattern_counts(tmp_path):
    assert read_adapter_files(write_adapter(tmp_path, rank_pattern={"q_proj": 32})).rank == 32


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"peft_type": "IA3"}, "IA3"),
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"r": 0}, "rank `r`"),
        ({"r": "4"}, "rank `r`"),
        ({"r": True}, "rank `r`"),
        ({"r": 2}, "has the rank 4"),
        ({"rank_pattern": {"q_proj": -1}}, "rank `r`"),
        ({"rank_pattern": [8]}, "rank `r`"),
        ({"lora_alpha": None}, "lora_alpha"),
    ],
)
def test_a_configuration_that_vllm_would_not_serve_rightly_is_refused(tmp_path, config, words):
    assert words in refused(write_adapter(tmp_path, **config))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"{", "is not valid JSON"),
        (b"[1]", "is not a JSON object"),
        (b"[" * 100_000, "is not valid JSON"),
        (b" " * 2**21, "more than"),
    ],
)
def test_a_configuration_that_cannot_be_read_says_so(tmp_path, text, words):
    write_adapter(tmp_path)
    (tmp_path / "adapter_config.json").write_bytes(text)
    assert words in refused(tmp_path)


def test_a_directory_without_a_configuration_or_weights_says_what_is_missing(tmp_path):
    assert "no adapter_config.json" in refused(tmp_path / "nothing")
    write_adapter(tmp_path)
    (tmp_path / "adapter_model.safetensors").rename(tmp_path / "adapter_model.bin")
    assert "adapter_model.bin is a pickle" in refused(tmp_path)
    (tmp_path / "adapter_model.bin").unlink()
    assert "no adapter_model.safetensors" in refused(tmp_path)


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({f"{LAYER}.lora_A.weight": (4, 16)}, "do not match"),
        ({f"{LAYER}.lora_B.weight": (16, 4)}, "no matrix A"),
        ({**SHAPES, f"{LAYER}.lora_B.weight": (16, 5)}, "do not match"),
        ({**SHAPES, f"{LAYER}.lora_A.weight": (64,)}, "do not match"),
        ({**SHAPES, "base_model.model.lm_head.weight": (9, 9)}, "not part of a LoRA adapter"),
        ({}, "changes no layer"),
    ],
)
def test_matrices_that_make_no_change_are_refused(tmp_path, shapes, words):
    assert words in refused(write_adapter(tmp_path, shapes))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK" * 20,
        tensors(SHAPES)[:-1],
        tensors(SHAPES) + b"x",
        tensors(SHAPES, dtype="I64"),
        tensors(SHAPES, dtype="F128"),
        tensors(SHAPES).replace(b"[4, 16]", b"[-4,16]"),
        (2**62).to_bytes(8, "little") + b"{",
        (10**5).to_bytes(8, "little") + b"[" * 10**5,
        tensors(SHAPES).replace(b"data_offsets", b"data_offsetz"),
        tensors(SHAPES)[:8] + b"\xff" * 300,
        (2).to_bytes(8, "little") + b"[]",
    ],
)
def test_damaged_weights_are_refused(tmp_path, data):
    write_adapter(tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(data)
    assert "is damaged" in refused(tmp_path)


def test_weights_of_another_dtype_are_refused(tmp_path):
    write_adapter(tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(tensors(SHAPES, dtype="I16"))
    assert "has the dtype I16" in refused(tmp_path)
