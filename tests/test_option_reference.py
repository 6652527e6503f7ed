import json
import re
from pathlib import Path

import pytest

from container.options import TABLE, Options
from container.options.explanation import explain, vllm_serve_line
from docs.generate import REWRITE
from docs.generate.__main__ import PAGES
from docs.generate.options_page import example_properties, options_page
from tests.option_cases import resolved, write_properties

ROOT = Path(__file__).resolve().parent.parent


# Towards vLLM


def test_vllm_gets_its_own_names_and_no_none():
    environ = {"OPTION_QUANTIZE": "awq", "OPTION_MAX_ROLLING_BATCH_SIZE": "8", "OPTION_SERVED_MODEL_NAME": "a,b"}
    environ |= {"SM_NUM_GPUS": "2", "OPTION_MM_PROCESSOR_KWARGS": '{"size": {"longest": [1, 2]}}', "HF_TOKEN": "t"}
    assert resolved(environ).options.vllm_arguments() == {
        "quantization": "awq",
        "max_num_seqs": 8,
        "served_model_name": ["a", "b"],
        "tensor_parallel_size": 2,
        "pipeline_parallel_size": 1,
        "data_parallel_size": 1,
        "mm_processor_kwargs": {"size": {"longest": [1, 2]}},
        "dtype": "auto",
        "trust_remote_code": False,
        "enforce_eager": False,
        "limit_mm_per_prompt": {"image": 1, "video": 0, "audio": 0},
        "enable_mm_embeds": False,
    }


def test_max_gpus_are_left_to_the_caller():
    assert "tensor_parallel_size" not in resolved({}).options.vllm_arguments()


def test_the_line_of_vllm_serve_is_quoted_for_a_shell():
    environ = {
        "HF_MODEL_ID": "org/model",
        "HF_TOKEN": "SECRET",
        "OPTION_LIMIT_MM_PER_PROMPT": "image=2",
        "OPTION_ENFORCE_EAGER": "true",
        "OPTION_CHAT_TEMPLATE": "{{ 'a' }}",
        "OPTION_SERVED_MODEL_NAME": "a b",
        "OPTION_ENABLE_PREFIX_CACHING": "false",
        "OPTION_LOAD_FORMAT": "auto",
    }
    options = resolved(environ).options
    arguments = {"model": "org/model", **options.vllm_arguments(), "hf_token": "SECRET"}
    line = vllm_serve_line(options, arguments, options.served_model_name)
    assert line.startswith("vllm serve org/model ")
    assert """--limit-mm-per-prompt '{"image": 2, "video": 0, "audio": 0}'""" in line
    assert " --enforce-eager " in line
    assert " --served-model-name a b " in line
    assert """ --chat-template '{{ '"'"'a'"'"' }}'""" in line
    assert " --no-enable-prefix-caching --load-format auto " in line
    assert " --no-trust-remote-code " in line
    assert " --host 0.0.0.0 --port 8080" in line
    assert "SECRET" not in line
    assert "--tensor-parallel-size with the number of GPUs" in line


def test_the_line_of_vllm_serve_begins_with_the_variables_of_the_engine():
    options = resolved({"OPTION_ENV": "VLLM_X=two words,MY_KEY=HUSH"}).options
    assert vllm_serve_line(options, {"model": "m"}, ["m"]).startswith("VLLM_X='two words' MY_KEY=*** vllm serve m ")


def test_the_line_of_vllm_serve_tells_no_secret():
    arguments = {
        "model": "m",
        "model_loader_extra_config": '{"aws_secret_access_key": "HUSH"}',
        "mm_processor_kwargs": {"token": "HUSH"},
    }
    options = resolved({"OPTION_CHAT_TEMPLATE": "https://user:HUSH@host/t.jinja?X-Amz-Signature=HUSH"}).options
    assert "HUSH" not in vllm_serve_line(options, arguments, ["m"])


# What is generated


def test_the_explanation_has_every_option_with_value_origin_and_meaning():
    told = explain(resolved({"OPTION_DTYPE": "bf16", "OPTION_LOAD_FORMAT": "auto", "OPTION_ROLLING_BATCH": "trtllm"}))
    for entry in TABLE:
        (line,) = [line for line in told.splitlines() if line.startswith(f"{entry.name} ")]
        assert line.endswith(entry.declared.meaning)
    assert re.search(r"^dtype +bfloat16 +OPTION_DTYPE ", told, re.MULTILINE)
    assert re.search(r"^load_format +auto +OPTION_LOAD_FORMAT ", told, re.MULTILINE)
    assert re.search(r"^quantize +\(the model's own\) +default ", told, re.MULTILINE)
    assert "\nwarning: OPTION_ROLLING_BATCH='trtllm' has no effect" in told


@pytest.mark.parametrize(("path", "text"), PAGES, ids=[path for path, _ in PAGES])
def test_what_is_generated_is_up_to_date(path, text):
    assert (ROOT / path).read_text(encoding="utf-8") == text(), f"{path} is stale; run: {REWRITE}"


def test_the_example_says_the_defaults(tmp_path: Path):
    text = example_properties().replace("#option.", "option.")
    found = resolved({}, write_properties(tmp_path, text))
    assert found.options.model_copy(update={"written": {}, "code_directories": ()}) == Options()
    assert found.warnings == ()


def test_the_page_has_every_option_and_every_name():
    page = options_page()
    for entry in TABLE:
        assert f"| `{entry.name}` |" in page
        assert all(f"`{variable}`" in page for variable in entry.variables)


def test_limits_are_shown_as_json():
    told = explain(resolved({"OPTION_LIMIT_MM_PER_PROMPT": "image=4"}))
    assert json.dumps({"image": 4, "video": 0, "audio": 0}) in told
