"""Checkpoints whose parts contradict each other. tests/test_inspection.py has whole ones."""

import pytest

from handler.checkpoint.faults import check_placeholder, check_tensors
from handler.checkpoint.files import DirectoryFiles, read_json
from handler.checkpoint.tensors import read_tensors
from handler.errors import StartError
from tests.checkpoints import CONFIG, LAYER, TENSORS, TOKENIZER, without, write_checkpoint

EMBEDDING = "language_model.model.embed_tokens.weight"
SECOND = "language_model.model.layers.1.k.weight"
LAST = [name for name in TENSORS if "layers.2." in name]


def check(directory, **written):
    files = DirectoryFiles(write_checkpoint(directory, **written))
    config = read_json(files, "config.json")
    check_tensors("m", config, read_tensors(files, ["model.safetensors"]))
    check_placeholder(files, config)


FAULTS = {
    "no vision tower": (
        without("vision_tower.vision_model.embeddings.patch_embedding.weight"),
        "no tensor of a vision tower",
    ),
    "embedding of another width": (
        {**TENSORS, EMBEDDING: ("BF16", (16, 6))},
        r"embed_tokens.weight is \[16, 6\], but config.json says that the language model is 8 wide",
    ),
    "tensor of one layer": (without(SECOND), f"has no tensor {SECOND}, which all other layers there have"),
    "tensor of the last layer": (
        without("language_model.model.layers.2.k.weight"),
        "layers.2.k.weight, which all other layers there have",
    ),
    "shape of one tensor": (
        {**TENSORS, SECOND: ("BF16", (8, 4))},
        r"layers.1.k.weight is \[8, 4\], in all other layers it is \[8, 8\]",
    ),
    "head": (without("language_model.lm_head.weight"), r"has no tensor lm_head.weight, and its config.json says"),
    "last layer": (without(*LAST), "has 2 layers in language_model.model.layers, and its config.json says 3"),
    "layer in the middle": (
        without(*(name for name in TENSORS if "layers.1." in name)),
        "has 2 layers in language_model.model.layers, and its config.json says 3",
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_tensors_that_are_not_those_of_the_configuration(tmp_path, case):
    tensors, words = FAULTS[case]
    with pytest.raises(StartError, match=words):
        check(tmp_path, tensors=tensors)


SOUND = {
    "as it is": TENSORS,
    "a first layer with something else in place": {
        **without("language_model.model.layers.0.k.weight"),
        "language_model.model.layers.0.dense.weight": ("BF16", (8, 8)),
    },
    "layers of different widths": {
        **TENSORS,
        **{f"language_model.model.layers.1.{name}.weight": ("BF16", (8, 4)) for name in ("q", "k")},
    },
    "a small network whose layers have gaps and other widths": {
        **TENSORS,
        **{f"projector.layers.{n}.weight": ("U8", (2, 1 + (n > 0))) for n in (0, 2, 4)},
    },
    "packed weights": {**TENSORS, EMBEDDING: ("I32", (16, 1))},
    "a tower whose last layer has less": {
        **TENSORS,
        **{f"vision_tower.layers.{number}.pooled": ("U8", (1,)) for number in range(3)},
        **{f"vision_tower.layers.{number}.{name}": ("U8", (1,)) for number in range(4) for name in LAYER},
    },
}


@pytest.mark.parametrize("case", SOUND)
def test_what_may_be_is_not_refused(tmp_path, case):
    check(tmp_path, tensors=SOUND[case])


def test_layers_are_compared_with_those_of_their_kind(tmp_path):
    kinds = {**CONFIG["text_config"], "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
    check(tmp_path, tensors=without(SECOND), config={**CONFIG, "text_config": kinds})


def test_a_tokenizer_without_the_placeholder_is_refused(tmp_path):
    with pytest.raises(StartError, match=r"has no token 5, which its config.json says stands for an image"):
        check(tmp_path, tokenizer={**TOKENIZER, "added_tokens": []})


def test_a_placeholder_may_be_among_the_words_or_in_the_older_file(tmp_path):
    check(tmp_path / "a", tokenizer={"model": {"vocab": {"<image>": 5}}})
    check(tmp_path / "b", tokenizer={"model": {"vocab": [["a", 0.0]] * 6}})
    older = {"tokenizer_config.json": {"added_tokens_decoder": {"5": {"content": "<image>"}}}}
    check(tmp_path / "c", tokenizer={**TOKENIZER, "added_tokens": []}, **older)


def test_quantised_layers_need_not_be_alike(tmp_path):
    config = {**CONFIG, "quantization_config": {"quant_method": "fp8", "ignored_layers": ["model.layers.1.k"]}}
    check(tmp_path, tensors=without(SECOND), config=config)


def test_the_embedding_may_serve_as_the_head(tmp_path):
    tensors = without("language_model.lm_head.weight")
    tied = {**CONFIG, "text_config": {**CONFIG["text_config"], "tie_word_embeddings": True}}
    check(tmp_path / "a", tensors=tensors, config=tied)
    check(tmp_path / "b", tensors=tensors, config={**CONFIG, "tie_word_embeddings": True})


def test_without_a_placeholder_or_a_fast_tokenizer_nothing_is_said(tmp_path):
    check(tmp_path / "a", config={**CONFIG, "image_token_index": None}, tokenizer={"model": {"vocab": {"a": 0}}})
    check(tmp_path / "b", tokenizer=None)
