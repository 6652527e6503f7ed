import asyncio
import logging

import pytest

from container.options import resolve
from container.start.model import locate_model
from container.start.transformers_settings import transformers_settings, without_effect
from container.start.vllm_settings import vllm_settings
from handler.engines.transformers.factory import TransformersFactory
from handler.engines.vllm import field_names
from handler.errors import OptionError, StartError


@pytest.fixture
def options(directory):
    return lambda **environ: resolve({"HF_MODEL_ID": str(directory), **environ}, engine_fields=field_names).options


def settings(options):
    return transformers_settings(options, vllm_settings(options, locate_model(options)))


def test_options_become_what_the_engine_is_started_with(options):
    made = settings(
        options(
            OPTION_DTYPE="bf16",
            OPTION_MAX_MODEL_LEN="2K",
            OPTION_MAX_ROLLING_BATCH_SIZE="8",
            OPTION_SERVED_MODEL_NAME="mine",
            OPTION_MM_PROCESSOR_KWARGS='{"max_image_tiles": 1}',
            HF_TOKEN="hf_x",
        )
    )
    assert (made.dtype, made.max_model_len, made.max_rows, made.names) == ("bfloat16", 2048, 8, ("mine",))
    assert dict(made.processor_arguments) == {"max_image_tiles": 1}
    assert made.token == "hf_x"
    assert "hf_x" not in repr(made)
    assert made.without_effect == ()


def test_the_longest_context_is_the_models_own(options):
    assert settings(options(OPTION_MAX_MODEL_LEN="auto")).max_model_len is None


def test_options_of_vllm_alone_are_named(options):
    chosen = options(OPTION_TENSOR_PARALLEL_DEGREE="4", OPTION_ENFORCE_EAGER="true", OPTION_BLOCK_SIZE="32")
    named = {"OPTION_TENSOR_PARALLEL_DEGREE", "OPTION_ENFORCE_EAGER", "OPTION_BLOCK_SIZE"}
    assert set(without_effect(chosen)) == named
    assert without_effect(options(OPTION_TENSOR_PARALLEL_DEGREE="1", OPTION_PORT="9000")) == ()


def test_options_without_effect_are_logged_at_the_start(options, caplog):
    factory = TransformersFactory(settings(options(OPTION_ENFORCE_EAGER="true")))
    with caplog.at_level(logging.WARNING), pytest.raises(StartError, match="transformers could not load"):
        asyncio.run(factory.start("/none", None))
    assert "OPTION_ENFORCE_EAGER has no effect" in caplog.text


def test_several_nodes_are_refused(options):
    factory = TransformersFactory(settings(options()))
    for begin in (factory.start, factory.follow):
        with pytest.raises(StartError, match="one GPU of one machine"):
            asyncio.run(begin("model", "10.0.0.1"))


def test_the_operators_defaults_for_sampling_hold(options):
    made = settings(options(OPTION_OVERRIDE_GENERATION_CONFIG='{"temperature": 0}'))
    assert made.generation_overrides == {"temperature": 0}
    assert made.without_effect == ()


@pytest.mark.parametrize("text", ["hot", "[]"])
def test_defaults_for_sampling_that_are_no_object_are_refused(options, text):
    with pytest.raises(OptionError, match="OPTION_OVERRIDE_GENERATION_CONFIG"):
        settings(options(OPTION_OVERRIDE_GENERATION_CONFIG=text))


def test_defaults_that_only_vllm_knows_may_be_anything(options):
    made = settings(options(OPTION_OVERRIDE_GENERATION_CONFIG='{"eos_token_id": [1, 2]}'))
    assert made.without_effect == ("eos_token_id of OPTION_OVERRIDE_GENERATION_CONFIG",)
