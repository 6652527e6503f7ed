import asyncio
import json
import logging

import pytest

from handler.engines.choice import EngineChoice
from handler.engines.fake import FakeFactory
from handler.errors import StartError

MLLAMA, LLAVA = "MllamaForConditionalGeneration", "LlavaForConditionalGeneration"


@pytest.fixture
def model(tmp_path):
    def write(architecture):
        (tmp_path / "config.json").write_text(json.dumps({"architectures": [architecture], "vision_config": {}}))
        return str(tmp_path)

    return write


def chosen(model, setting="auto", *, source=None):
    """The steps of vLLM's factory and of the other, from `preload` to a started engine."""
    vllm, transformers = FakeFactory(), FakeFactory()
    choice = EngineChoice(vllm, transformers, setting, source or model, {})

    async def begin():
        choice.preload()
        await choice.start(model, None)

    asyncio.run(begin())
    return vllm.steps, transformers.steps


def test_vllm_runs_what_it_has(model):
    directory = model(LLAVA)
    assert chosen(directory) == (["preload", f"start {directory}"], ["close"])


def test_transformers_runs_what_vllm_no_longer_has(model, caplog):
    directory = model(MLLAMA)
    with caplog.at_level(logging.INFO, "lumi.engine"):
        assert chosen(directory) == (["close"], ["preload", f"start {directory}"])
    assert f"run by transformers, not by vLLM: vLLM has no {MLLAMA}" in caplog.text


def test_a_model_that_is_not_here_yet_is_expected_to_be_vllms(model):
    directory = model(MLLAMA)
    vllm, transformers = chosen(directory, source="s3://bucket/model/")
    assert (vllm, transformers) == (["preload", "close"], [f"start {directory}"])


def test_the_operator_may_have_transformers_run_everything(model):
    directory = model(LLAVA)
    assert chosen(directory, "always") == (["close"], ["preload", f"start {directory}"])


def test_the_operator_may_refuse_it(model):
    assert chosen(model(LLAVA), "never")[1] == ["close"]
    with pytest.raises(StartError, match=f"{MLLAMA}, and OPTION_TRANSFORMERS_ENGINE=never refuses"):
        chosen(model(MLLAMA), "never")


def test_both_are_closed():
    vllm, transformers = FakeFactory(), FakeFactory()
    asyncio.run(EngineChoice(vllm, transformers, "auto", "", {}).close())
    assert (vllm.steps, transformers.steps) == (["close"], ["close"])
