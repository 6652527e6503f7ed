"""Which models attend otherwise in vLLM than in their authors' code: by vLLM's own configuration and backends."""

import logging
import shutil

import pytest

from handler.engines.vllm.launch import VllmSettings
from tests.live import MODEL

pytestmark = [pytest.mark.engine, pytest.mark.filterwarnings("default")]


def config_of(directory):
    from handler.engines.vllm.configuration import create_config

    return create_config(VllmSettings({"model": str(directory), "dtype": "float32"}, ("m",))).model_config


@pytest.fixture(scope="module")
def families(tmp_path_factory):
    """Directories with a configuration and a tokenizer, by the type of the model."""
    from transformers import Gemma3Config, PaliGemmaConfig

    directories = {}
    for config in (
        PaliGemmaConfig(architectures=["PaliGemmaForConditionalGeneration"]),
        Gemma3Config(architectures=["Gemma3ForConditionalGeneration"]),
    ):
        directory = directories[config.model_type] = tmp_path_factory.mktemp(config.model_type)
        config.save_pretrained(directory)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(MODEL / name, directory)
    return directories


@pytest.mark.parametrize("family", ["paligemma", "gemma3"])
def test_causal_images_on_a_cpu_are_in_the_log_of_the_start(family, families, caplog):
    with caplog.at_level(logging.WARNING, "lumi.engine"):
        config_of(families[family])
    assert f"on a CPU vLLM attends inside images causally, unlike the authors of {family}" in caplog.text


def test_a_model_that_attends_as_its_authors_do_says_nothing(caplog):
    config_of(MODEL)
    assert "attends" not in caplog.text


def test_on_a_gpu_only_paligemmas_text_is_left_causal(families):
    from handler.engines.vllm.attention import attention_difference

    assert attention_difference(config_of(families["gemma3"]), on_cpu=False) is None
    assert "text of the prompt" in attention_difference(config_of(families["paligemma"]), on_cpu=False)


def test_the_backends_of_gpus_say_whether_they_attend_in_both_directions():
    from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend
    from vllm.v1.attention.backends.flex_attention import FlexAttentionBackend
    from vllm.v1.attention.backends.triton_attn import TritonAttentionBackend

    assert TritonAttentionBackend.supports_mm_prefix()
    assert FlexAttentionBackend.supports_mm_prefix()
    assert not CPUAttentionBackend.supports_mm_prefix()
