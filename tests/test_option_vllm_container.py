"""SM_VLLM_*: the variables of AWS's vLLM container."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from container.options import resolve
from container.options.explanation import explain
from tests.option_cases import model_at, refusal, resolved, write_properties

# As AWS publishes them, read 2026-11-22. What is not an option goes to vLLM as text.
PUBLISHED = [
    pytest.param(
        {
            "HF_MODEL_ID": "Qwen/Qwen3-4B",
            "SM_VLLM_TENSOR_PARALLEL_SIZE": "1",
            "SM_VLLM_MAX_NUM_SEQS": "4",
            "SM_VLLM_ENABLE_AUTO_TOOL_CHOICE": "true",
            "SM_VLLM_TOOL_CALL_PARSER": "hermes",
            "SAGEMAKER_ENABLE_LOAD_AWARE": "1",
        },
        {
            "model_id": "Qwen/Qwen3-4B",
            "tensor_parallel_degree": 1,
            "max_rolling_batch_size": 4,
            "enable_auto_tool_choice": True,
            "tool_call_parser": "hermes",
        },
        {},
        id="aws-samples/sagemaker-genai-hosting-examples: 03-features/openai",
    ),
    pytest.param(
        {
            "SM_VLLM_MODEL": "some/model",
            "SM_VLLM_MAX_MODEL_LEN": "4096",
            "SM_VLLM_DTYPE": "bfloat16",
            "SM_VLLM_TRUST_REMOTE_CODE": "true",
            "SM_VLLM_LOAD_FORMAT": "mistral",
        },
        {"model_id": "some/model", "max_model_len": 4096, "dtype": "bfloat16", "trust_remote_code": True},
        {"load_format": "mistral"},
        id="aws/deep-learning-containers: vllm-sagemaker-endpoint-tests.yml",
    ),
    pytest.param(
        {
            "SM_VLLM_MODEL": "some/model",
            "SM_VLLM_HF_OVERRIDES": '{"architectures":["A"],"is_original":true}',
            "SM_VLLM_GPU_MEMORY_UTILIZATION": "0.85",
        },
        {"gpu_memory_utilization": 0.85},
        {"hf_overrides": '{"architectures":["A"],"is_original":true}'},
        id="aws/deep-learning-containers: an object stays one value",
    ),
    pytest.param(
        {
            "SM_VLLM_MODEL": "some/model",
            "SM_VLLM_ENABLE_PREFIX_CACHING": "",
            "SM_VLLM_ENABLE_AUTO_TOOL_CHOICE": "",
            "SM_VLLM_TOOL_CALL_PARSER": "glm47",
            "SM_VLLM_TRUST_REMOTE_CODE": "",
        },
        {"enable_auto_tool_choice": True, "trust_remote_code": True},
        {"enable_prefix_caching": "true"},
        id="aws-samples: flags without a value",
    ),
    pytest.param(
        {
            "SM_VLLM_MODEL": "some/model",
            "SM_VLLM_ENABLE_LORA": "true",
            "SM_VLLM_LORA_MODULES": '{"name": "a", "path": "/x"} {"name": "b", "path": "/y"}',
            "SAGEMAKER_MAX_NUMBER_OF_ADAPTERS_IN_MEMORY": "64",
        },
        {"enable_lora": True},
        {},
        id="aws/deep-learning-containers: test_sagemaker_args.py, several objects",
    ),
]


@pytest.mark.parametrize(("environ", "options", "arguments"), PUBLISHED)
def test_a_published_environment_is_read_without_a_warning(
    environ: Mapping[str, str], options: Mapping[str, Any], arguments: Mapping[str, str]
):
    found = resolved(environ)
    assert found.warnings == ()
    assert {name: getattr(found.options, name) for name in options} == options
    assert found.options.engine_arguments == arguments


def test_an_argument_that_vllm_reads_is_described_as_it_was_set(tmp_path: Path):
    model = write_properties(model_at(tmp_path / "model"), "option.load_format=dummy")
    environ = {"SM_VLLM_KV_CACHE_DTYPE": "fp8", "HF_MODEL_ID": str(model), "OPTION_BLOCK_SIZE": "16"}
    fields = ("kv_cache_dtype", "load_format", "block_size")
    assert resolve(environ, engine_fields=lambda: fields).options.engine_settings == {
        "kv_cache_dtype": "SM_VLLM_KV_CACHE_DTYPE='fp8'",
        "load_format": "option.load_format='dummy' (serving.properties line 1)",
        "block_size": "OPTION_BLOCK_SIZE='16'",
    }


def test_several_adapters_may_be_objects_one_after_the_other():
    environ = {"SM_VLLM_ENABLE_LORA": "true", "SM_VLLM_LORA_MODULES": '{"a} {": "/x"} [{"name": "b", "path": "/y"}]'}
    assert list(map(str, resolved(environ).options.lora_modules)) == ["a} {=/x", "b=/y"]


def test_check_shows_where_the_value_is_from():
    found = resolved({"SM_VLLM_DTYPE": "fp16", "SM_VLLM_LOAD_FORMAT": "dummy"})
    lines = explain(found).splitlines()
    assert any(line.startswith("dtype ") and "SM_VLLM_DTYPE" in line for line in lines)
    assert any(line.startswith("load_format ") and "SM_VLLM_LOAD_FORMAT" in line for line in lines)


def test_the_model_directory_that_it_names_may_have_options(tmp_path: Path):
    model = model_at(tmp_path / "model")
    write_properties(model, "option.dtype=fp16")
    found = resolved({"SM_VLLM_MODEL": str(model), "SM_VLLM_DTYPE": "bfloat16"})
    assert (found.options.model_id, found.options.dtype) == (str(model), "float16")
    (warning,) = found.warnings
    assert "option.dtype='fp16'" in warning
    assert "SM_VLLM_DTYPE='bfloat16' is not" in warning


def test_a_near_miss_is_refused_in_its_own_spelling():
    told = refusal({"SM_VLLM_MAX_MODEL_LENGHT": "8192"})
    assert "SM_VLLM_MAX_MODEL_LENGHT='8192' is not an option; did you mean SM_VLLM_MAX_MODEL_LEN" in told


def test_a_bad_value_is_refused_with_its_variable():
    assert "SM_VLLM_ENFORCE_EAGER='yep' is not true or false" in refusal({"SM_VLLM_ENFORCE_EAGER": "yep"})


def test_an_argument_of_the_http_server_alone_has_no_effect_and_says_so():
    (warning,) = resolved({"SM_VLLM_ROOT_PATH": "/x", "SM_VLLM_ENABLE_LOG_OUTPUTS": "false"}).warnings
    assert warning.startswith("SM_VLLM_ROOT_PATH='/x' has no effect: ")


@pytest.mark.parametrize("name", ["MAX_MODEL_LEN", "MODEL", "NONSENSE"])
def test_an_empty_value_of_what_is_no_flag_is_named_with_the_cure(name: str):
    (warning,) = resolved({f"SM_VLLM_{name}": ""}).warnings
    assert warning == f"SM_VLLM_{name} is empty and has no effect; give it a value, or remove it"


def test_a_flag_without_a_value_is_on_as_the_user_wrote_it():
    found = resolved({"SM_VLLM_ENFORCE_EAGER": "", "OPTION_ENFORCE_EAGER": "false"})
    assert found.options.enforce_eager is False
    (warning,) = found.warnings
    assert "SM_VLLM_ENFORCE_EAGER='' is not" in warning


@pytest.mark.parametrize("text", ["", "true", "True", "1"])
def test_a_negated_flag_is_off(text: str):
    environ = {
        "SM_VLLM_NO_ENABLE_PREFIX_CACHING": text,
        "SM_VLLM_NO_ENFORCE_EAGER": text,
        "OPTION_ENFORCE_EAGER": "true",
    }
    found = resolved(environ)
    assert found.options.engine_arguments == {"enable_prefix_caching": "false"}
    assert f"SM_VLLM_NO_ENFORCE_EAGER={text!r} is not" in found.warnings[0]
    assert found.origins["enable_prefix_caching"] == "SM_VLLM_NO_ENABLE_PREFIX_CACHING"


def test_false_turns_a_flag_off_and_leaves_out_what_is_no_flag():
    environ = {"SM_VLLM_ENABLE_PREFIX_CACHING": "False", "SM_VLLM_TOOL_CALL_PARSER": "false", "SM_VLLM_MODEL": "false"}
    found = resolved(environ)
    assert found.options.engine_arguments == {"enable_prefix_caching": "False"}
    assert (found.options.tool_call_parser, found.options.model_id, found.warnings) == (None, None, ())


def test_a_negated_flag_that_is_false_says_nothing():
    found = resolved({"SM_VLLM_NO_ENABLE_PREFIX_CACHING": "false"})
    assert (found.options.engine_arguments, found.warnings) == ({}, ())


def test_an_api_key_is_secret():
    assert "sesame" not in explain(resolved({"SM_VLLM_API_KEY": "open-sesame"}))


def test_the_sessions_of_the_hosting_standards_are_those_of_the_options():
    found = resolved({"SAGEMAKER_ENABLE_STATEFUL_SESSIONS": "false", "SAGEMAKER_SESSIONS_EXPIRATION": "60"})
    assert (found.options.enable_stateful_sessions, found.options.sessions_expiration) == (False, 60.0)


def test_a_negated_argument_is_false():
    found = resolved({"SM_VLLM_NO_ENABLE_PREFIX_CACHING": "true", "SM_VLLM_NO_ENFORCE_EAGER": "false"})
    assert found.options.engine_arguments == {"enable_prefix_caching": "false"}
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("environ", "formatter"),
    [
        ({"SM_VLLM_MODEL": "org/name"}, "sse"),
        ({"SM_VLLM_MODEL": "org/name", "OPTION_OUTPUT_FORMATTER": "jsonlines"}, "jsonlines"),
        ({"SM_VLLM_MODEL": "org/name", "OPTION_MAX_MODEL_LEN": "4096"}, None),  # it is LMI's
        ({"OPTION_MODEL_ID": "org/name"}, None),
    ],
)
def test_streams_are_those_of_the_container_that_is_replaced(environ: dict[str, str], formatter: str | None):
    assert resolved(environ).options.output_formatter == formatter
