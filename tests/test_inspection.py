"""Whole checkpoints, wherever they are, before anything is loaded."""

import asyncio
import json

import pytest

from container.inspection.report import report_on
from container.inspection.text import describe
from container.model_store import Hub, locate, remote_files
from container.options import resolve
from handler.checkpoint.files import DirectoryFiles
from handler.engines.vllm.factory import VllmFactory
from handler.engines.vllm.launch import VllmSettings
from handler.errors import StartError
from tests.checkpoints import CONFIG, TENSORS, safetensors, write_checkpoint
from tests.s3_server import s3_served


def options(model, **environ):
    return resolve({"HF_MODEL_ID": str(model), **environ}, engine_fields=lambda: {"hf_overrides"}).options


def report(directory, **environ):
    return report_on(DirectoryFiles(directory), options(directory, **environ))


def test_a_model_is_described(tmp_path):
    text = describe(report(write_checkpoint(tmp_path, **{"chat_template.jinja": b"{{ messages }}"})))
    rows = dict(line.split("  ", 1) for line in text.splitlines())
    said = {name: value.strip() for name, value in rows.items()}
    assert said["engine"] == "vLLM"
    assert said["model class"] == "LlavaForConditionalGeneration"
    assert said["takes"] == "text, image"
    assert said["chat template"] == "chat_template.jinja"
    assert said["context"] == "2048 tokens"
    assert said["language model"].startswith("0.0 million parameters; BF16 3 kB;")
    assert said["KV cache"].startswith("96 bytes a token; ")
    assert said["largest image"].startswith("4 tokens")
    assert said["ml.g4dn.xlarge"].startswith("fits (1 x T4")


def test_a_type_that_is_named_is_compared_whether_or_not_it_fits(tmp_path):
    large = {**TENSORS, "language_model.lm_head.weight": ("BF16", (10**10,))}
    header = safetensors(large, body=False)
    (write_checkpoint(tmp_path) / "model.safetensors").write_bytes(header)
    with (tmp_path / "model.safetensors").open("r+b") as file:
        file.truncate(len(header) + 2 * 10**10 + 10**4)
    (named,) = report_on(DirectoryFiles(tmp_path), options(tmp_path), "ml.g5.2xlarge").fits
    assert not named.fits
    assert "does NOT fit" in describe(report_on(DirectoryFiles(tmp_path), options(tmp_path), "g5.2xlarge"))
    assert report(tmp_path).fits[0].instance.gpu_gib > 22


@pytest.mark.parametrize(
    ("files", "source"),
    [
        ({"chat_template.json": {"chat_template": "x"}}, "chat_template.json"),
        ({"processor_config.json": {"chat_template": "x"}}, "processor_config.json"),
        ({"tokenizer_config.json": {"chat_template": "x"}}, "tokenizer_config.json"),
        ({}, "Lumi's own for llava"),
    ],
)
def test_the_chat_template_has_a_source(tmp_path, files, source):
    assert report(write_checkpoint(tmp_path, **files)).template == source
    assert report(tmp_path, OPTION_CHAT_TEMPLATE="{{ messages }}").template == "OPTION_CHAT_TEMPLATE"


def test_a_family_may_have_a_template_in_vllm(tmp_path):
    named = {**CONFIG, "architectures": ["Blip2ForConditionalGeneration"], "model_type": "blip-2"}
    assert report(write_checkpoint(tmp_path, config=named)).template == "vLLM's own for blip-2"


def test_a_model_in_mistrals_own_format_is_left_to_vllm(tmp_path):
    (tmp_path / "params.json").write_text("{}")
    assert "params.json" in describe(report(tmp_path))


def start(directory):
    return asyncio.run(VllmFactory(VllmSettings({}, ("m",)))._settings_for(str(directory), None))


def test_a_start_refuses_with_the_sentence_of_check(tmp_path):
    directory = write_checkpoint(tmp_path, **{"model.safetensors": safetensors(cut=1)})
    with pytest.raises(StartError) as starting:
        start(directory)
    with pytest.raises(StartError) as checking:
        report(directory)
    assert str(starting.value) == str(checking.value)
    assert "truncated" in str(starting.value)


def test_a_start_tells_vllm_the_other_name_of_an_architecture(tmp_path):
    renamed = {"architectures": ["ChatGLMModel"], "vision_config": {}}
    (tmp_path / "config.json").write_text(json.dumps(renamed))
    assert start(tmp_path).arguments["hf_overrides"] == {"architectures": ["GLM4VForCausalLM"]}


def test_of_a_model_on_s3_only_small_files_and_headers_are_read(tmp_path, monkeypatch):
    large = {"vision_tower.large": ("U8", (64 * 2**20,))}
    written = write_checkpoint(tmp_path / "m", **{"model.safetensors": safetensors(large)})
    with s3_served() as store:
        for name, value in {"ENDPOINT_URL": store.url, "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        for path in written.iterdir():
            store.put(f"models/inner/{path.name}", path)
        located = locate("s3://bucket/models")
        files = remote_files(located, Hub())
        found = report_on(files, options("s3://bucket/models"))
        assert found.assignment.model_class == "LlavaForConditionalGeneration"
        assert store.sent < 2**20


def test_a_configuration_of_an_unknown_form_is_left_to_vllm(tmp_path):
    write_checkpoint(tmp_path, config={**CONFIG, "architectures": ["LlavaForConditionalGeneration", {}]}, tokenizer=[1])
    (tmp_path / "tokenizer_config.json").write_text('{"added_tokens_decoder": 7}')
    with pytest.raises(StartError, match="a form that check cannot read"):
        report(tmp_path)
    assert "hf_overrides" not in start(tmp_path).arguments


def test_vllm_refuses_what_only_transformers_serves(tmp_path):
    write_checkpoint(tmp_path, config={**CONFIG, "architectures": ["MllamaForConditionalGeneration"]})
    assert report(tmp_path).assignment.engine == "transformers"
    four = report_on(DirectoryFiles(tmp_path), options(tmp_path), "ml.g5.12xlarge")
    assert four.fits[0].degree == 1
    with pytest.raises(StartError, match="cannot be served by vLLM, which does not have its architecture Mllama"):
        start(tmp_path)
