import pickle
from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import ValidationError

from container.options import Options, resolve
from tests.option_cases import NOWHERE, option, refusal, resolved, write_properties

# Defaults and single options


def test_nothing_set_gives_lmis_defaults_without_a_warning():
    found = resolved({})
    assert found.warnings == ()
    assert set(found.origins.values()) == {"default"}
    options = found.options
    assert (options.model_id, options.tensor_parallel_degree, options.max_rolling_batch_size) == (None, "max", None)
    assert (options.port, options.max_request_size, options.job_queue_size) == (8080, 64 * 2**20, None)
    assert (options.predict_timeout, options.model_loading_timeout, options.image_fetch_timeout) == (240, 1200, 10)
    assert options.limit_mm_per_prompt == {"image": 1, "video": 0, "audio": 0}


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("OPTION_TENSOR_PARALLEL_DEGREE", "max", "tensor_parallel_degree", "max"),
        ("OPTION_TENSOR_PARALLEL_SIZE", "2", "tensor_parallel_degree", 2),
        ("OPTION_PIPELINE_PARALLEL_DEGREE", "2", "pipeline_parallel_degree", 2),
        ("OPTION_MAX_NUM_SEQS", "64", "max_rolling_batch_size", 64),
        ("OPTION_MAX_NUM_BATCHED_TOKENS", "8192", "max_rolling_batch_prefill_tokens", 8192),
        ("OPTION_MAX_MODEL_LEN", "32K", "max_model_len", 32768),
        ("OPTION_MAX_MODEL_LEN", "1.5k", "max_model_len", 1500),
        ("OPTION_MAX_MODEL_LEN", "auto", "max_model_len", -1),
        ("OPTION_DTYPE", "bfloat16", "dtype", "bfloat16"),
        ("OPTION_DTYPE", "bf16", "dtype", "bfloat16"),
        ("OPTION_DTYPE", "FP16", "dtype", "float16"),
        ("OPTION_DTYPE", "fp32", "dtype", "float32"),
        ("OPTION_QUANTIZATION", "awq", "quantize", "awq"),
        ("OPTION_PREFILL_CONTEXT_PARALLEL_SIZE", "2", "prefill_context_parallel_size", 2),
        ("OPTION_KV_CACHE_MEMORY_BYTES", "1.5g", "kv_cache_memory_bytes", 1_500_000_000),
        ("OPTION_GPU_MEMORY_UTILIZATION", "0.85", "gpu_memory_utilization", 0.85),
        ("OPTION_CPU_OFFLOAD_GB_PER_GPU", "4", "cpu_offload_gb_per_gpu", 4.0),
        ("OPTION_ENFORCE_EAGER", "True", "enforce_eager", True),
        ("OPTION_TRUST_REMOTE_CODE", "0", "trust_remote_code", False),
        ("OPTION_SERVED_MODEL_NAME", "one", "served_model_name", ("one",)),
        ("OPTION_SERVED_MODEL_NAME", "one, two three", "served_model_name", ("one", "two", "three")),
        ("OPTION_SERVED_MODEL_NAME", '["one", "two"]', "served_model_name", ("one", "two")),
        ("OPTION_IMAGE_PLACEHOLDER_TOKEN", "<image>", "image_placeholder_token", "<image>"),
        ("OPTION_IMAGE_FETCH_TIMEOUT", "2.5", "image_fetch_timeout", 2.5),
        ("OPTION_MEDIA_MAX_PICTURE_BYTES", "1.5 MiB", "media_max_picture_bytes", 3 * 2**19),
        ("OPTION_MEDIA_MAX_PICTURE_PIXELS", "1000000", "media_max_picture_pixels", 1_000_000),
        ("OPTION_MEDIA_MAX_PICTURE_SIDE", "8000", "media_max_picture_side", 8000),
        ("OPTION_MEDIA_MAX_PICTURE_ASPECT_RATIO", "20", "media_max_picture_aspect_ratio", 20),
        ("OPTION_ALLOWED_MEDIA_DOMAINS", '["A.example", "10.1.2.3"]', "allowed_media_domains", ("a.example", "10.1.2.3")),
        ("OPTION_ALLOWED_MEDIA_DOMAINS", "a.example,b.example", "allowed_media_domains", ("a.example", "b.example")),
        ("OPTION_MEDIA_ALLOWED_NETWORKS", "10.0.0.0/8, ::1", "media_allowed_networks",
         (ip_network("10.0.0.0/8"), ip_network("::1/128"))),
        ("OPTION_CHAT_TEMPLATE", "{{ messages }}", "chat_template", "{{ messages }}"),
        ("OPTION_CHAT_TEMPLATE", "https://host.example/t.jinja", "chat_template", "https://host.example/t.jinja"),
        ("OPTION_CHAT_TEMPLATE_CONTENT_FORMAT", "OpenAI", "chat_template_content_format", "openai"),
        ("OPTION_REASONING_PARSER", "qwen3", "reasoning_parser", "qwen3"),
        ("OPTION_GRAMMAR_MAX_BYTES", "1MiB", "grammar_max_bytes", 2**20),
        ("OPTION_GRAMMAR_COMPILE_TIMEOUT", "2.5", "grammar_compile_timeout", 2.5),
        ("OPTION_GRAMMAR_COMPILE_MEMORY", "2GiB", "grammar_compile_memory", 2**31),
        ("OPTION_OUTPUT_FORMATTER", "sse", "output_formatter", "sse"),
        ("OPTION_OUTPUT_FORMATTER", "jsonlines_chat_completion", "output_formatter", "jsonlines"),
        ("OPTION_ERROR_COMPAT", "lmi", "error_compat", "lmi"),
        ("OPTION_LOG_LEVEL", "WARN", "log_level", "warning"),
        ("OPTION_MAX_REQUEST_SIZE", "6MB", "max_request_size", 6_000_000),
        ("OPTION_SEED", "7", "seed", 7),
    ],
)  # fmt: skip
def test_an_option_is_read(variable: str, text: str, name: str, value: object):
    found = resolved({variable: text})
    assert getattr(found.options, name) == value
    assert found.origins[name] == variable
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("HF_MODEL_ID", "org/model", "model_id", "org/model"),
        ("HF_REVISION", "abc", "revision", "abc"),
        ("HF_MODEL_QUANTIZE", "awq", "quantize", "awq"),
        ("QUANTIZE", "awq", "quantize", "awq"),
        ("NUM_SHARD", "4", "tensor_parallel_degree", 4),
        ("HF_MODEL_TRUST_REMOTE_CODE", "true", "trust_remote_code", True),
        ("SM_NUM_GPUS", "4", "tensor_parallel_degree", 4),
        ("TENSOR_PARALLEL_DEGREE", "4", "tensor_parallel_degree", 4),
        ("PIPELINE_PARALLEL_DEGREE", "2", "pipeline_parallel_degree", 2),
        ("MAX_CONCURRENT_REQUESTS", "5", "job_queue_size", 5),
        ("SERVING_JOB_QUEUE_SIZE", "5", "job_queue_size", 5),
        ("MAX_BATCH_PREFILL_TOKENS", "4096", "max_rolling_batch_prefill_tokens", 4096),
        ("MAX_BATCH_SIZE", "8", "max_rolling_batch_size", 8),
        ("ENABLE_CUDA_GRAPHS", "true", "enforce_eager", False),
        ("ENABLE_CUDA_GRAPHS", "false", "enforce_eager", True),
        ("CUDA_MEMORY_FRACTION", "0.5", "gpu_memory_utilization", 0.5),
        ("VLLM_IMAGE_FETCH_TIMEOUT", "3", "image_fetch_timeout", 3),
        ("APHRODITE_IMAGE_FETCH_TIMEOUT", "3", "image_fetch_timeout", 3),
        ("VLLM_MAX_IMAGE_PIXELS", "9", "media_max_picture_pixels", 9),
        ("SAGEMAKER_BIND_TO_PORT", "9000", "port", 9000),
        ("SERVING_PORT", "9000", "port", 9000),
        ("SERVING_MAX_REQUEST_SIZE", "1000", "max_request_size", 1000),
        ("SAGEMAKER_MAX_REQUEST_SIZE", "1000", "max_request_size", 1000),
        ("SAGEMAKER_MAX_PAYLOAD_IN_MB", "6", "max_request_size", 6 * 2**20),
        ("SAGEMAKER_MAX_PAYLOAD_IN_MB", "0", "max_request_size", 2**40),
        ("SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS", "60", "predict_timeout", 60),
        ("PREDICT_TIMEOUT", "60", "predict_timeout", 60),
        ("SAGEMAKER_STARTUP_TIMEOUT", "60", "model_loading_timeout", 60),
        ("MODEL_LOADING_TIMEOUT", "60", "model_loading_timeout", 60),
    ],
)
def test_a_name_of_lmi_or_sagemaker_is_translated(variable: str, text: str, name: str, value: object):
    found = resolved({variable: text})
    assert (getattr(found.options, name), found.origins[name], found.warnings) == (value, variable, ())


def test_the_token_is_read_and_never_shown():
    options = resolved({"HF_TOKEN": "hf_abcdefghij"}).options
    assert options.hf_token is not None
    assert options.hf_token.get_secret_value() == "hf_abcdefghij"
    assert "hf_abcdefghij" not in repr(options)


def test_a_placeholder_keeps_its_line_end():
    assert option("image_placeholder_token", OPTION_IMAGE_PLACEHOLDER_TOKEN=" <|image_1|>\n") == "<|image_1|>\n"


@pytest.mark.parametrize("variable", ["OPTION_QUANTIZE", "HF_REVISION"])
def test_none_means_no_value_as_in_vllm(variable: str):
    found = resolved({variable: "None"})
    assert found.options == resolved({}).options.model_copy(update={"written": found.options.written})
    assert "quantization" not in found.options.vllm_arguments()


def test_empty_values_are_skipped():
    assert resolved({"OPTION_DTYPE": "", "HF_MODEL_ID": " ", "OPTION_NONSENSE": "", "SERVING_X": ""}).warnings == ()


def test_an_empty_api_key_is_a_warning_since_requests_need_none():
    (warning,) = resolved({"OPTION_API_KEY": " "}).warnings
    assert warning == "OPTION_API_KEY is empty, so requests need no API key; give it a value, or remove it"
    assert resolved({"OPTION_API_KEY": "key"}).warnings == ()


@pytest.mark.parametrize("name", ["OPTION_MAX_MODEL_LEN", "OPTION_max_model_len", "option_Max_Model_Len"])
def test_names_of_options_have_any_case(name: str):
    assert resolved({name: "512"}).options.max_model_len == 512


# How many images


@pytest.mark.parametrize(
    ("text", "images"),
    [
        ('{"image": 2}', 2),
        ('{"image":16,"video":0}', 16),
        ("image=2", 2),
        (" image = 2 , video=0,", 2),
        ('{"image": {"count": 3, "width": 512}}', 3),
        ('{"audio": 0}', 1),
    ],
)
def test_limits_in_every_syntax(text: str, images: int):
    found = resolved({"OPTION_LIMIT_MM_PER_PROMPT": text})
    assert dict(found.options.limit_mm_per_prompt) == {"image": images, "video": 0, "audio": 0}
    assert not found.warnings


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image=2,video=1", "allows videos, which requests cannot have"),
        ('{"video": {"num_frames": 8, "count": 2}, "audio": 1}', "allows videos and audio clips, which"),
    ],
)
def test_vllm_plans_for_nothing_that_requests_cannot_have(text: str, words: str):
    found = resolved({"OPTION_LIMIT_MM_PER_PROMPT": text})
    planned = found.options.vllm_arguments()["limit_mm_per_prompt"]
    assert (planned["video"], planned["audio"]) == (0, 0)
    (warning,) = found.warnings
    assert words in warning


def test_sizes_in_limits_reach_vllm():
    text = '{"image": {"count": 3, "width": 512, "height": 256}, "video": 0}'
    arguments = resolved({"OPTION_LIMIT_MM_PER_PROMPT": text}).options.vllm_arguments()
    rich = {"count": 3, "width": 512, "height": 256}
    assert arguments["limit_mm_per_prompt"] == {"image": rich, "video": 0, "audio": 0}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image=-1", "-1 as the limit of 'image'"),
        ('{"image": "2"}', "'2' as the limit of 'image'"),
        ('{"image": 1.5}', "1.5 as the limit"),
        ('{"image": true}', "True as the limit"),
        ('{"image": {"count": 1, "width": 0}}', "0 as 'width' of 'image'"),
        ('{"image": {"depth": 1}}', "unknown field 'depth' for 'image'; the fields are count, width, height"),
        ('{"images": 2}', "did you mean 'image'?"),
        ("smell=2", "the modalities are image, video, audio"),
        ("2", 'write {"image": 2} or image=2,video=1'),
        ("image=2,image=3", "has a modality twice"),
        ('{"image": 2, "image": 3}', "has 'image' twice"),
        ('{"image": 2', "is not a JSON object"),
    ],
)
def test_limits_that_are_none_are_refused(text: str, words: str):
    fault = refusal({"OPTION_LIMIT_MM_PER_PROMPT": text})
    assert fault.startswith(f"OPTION_LIMIT_MM_PER_PROMPT={text!r}")
    assert words in fault


# Bad values


@pytest.mark.parametrize(
    ("variable", "text", "words"),
    [
        ("OPTION_ENFORCE_EAGER", "yep", "is not true or false"),
        ("ENABLE_CUDA_GRAPHS", "maybe", "is not true or false"),
        ("OPTION_TENSOR_PARALLEL_DEGREE", "all", "is not max (all GPUs) or a whole number"),
        ("OPTION_TENSOR_PARALLEL_DEGREE", "0", "is not max"),
        ("OPTION_PREFILL_CONTEXT_PARALLEL_SIZE", "x", "is not a whole number of 1 or more"),
        ("OPTION_KV_CACHE_MEMORY_BYTES", "many", "is not a number of bytes such as"),
        ("OPTION_MAX_ROLLING_BATCH_SIZE", "1_0", "is not a whole number of 1 or more"),
        ("OPTION_MAX_ROLLING_BATCH_SIZE", "2.0", "is not a whole number of 1 or more"),
        ("OPTION_MAX_MODEL_LEN", "0", "is not a number of tokens"),
        ("OPTION_DTYPE", "int8", "set OPTION_QUANTIZE instead"),
        ("OPTION_DTYPE", "float8", "is not one of auto, float16, bfloat16, float32"),
        ("OPTION_GPU_MEMORY_UTILIZATION", "90", "is not a number above 0 and up to 1"),
        ("OPTION_GPU_MEMORY_UTILIZATION", "nan", "is not a number above 0 and up to 1"),
        ("OPTION_CPU_OFFLOAD_GB", "-1", "is not a number of GiB"),
        ("OPTION_IMAGE_FETCH_TIMEOUT", "0", "is not a number of seconds above 0"),
        ("OPTION_PREDICT_TIMEOUT", "inf", "is not a number of seconds above 0"),
        ("OPTION_MM_PROCESSOR_KWARGS", "[1]", "is not a JSON object"),
        ("OPTION_MM_PROCESSOR_KWARGS", '{"a":}', "Expecting value at character 6"),
        ("OPTION_MM_PROCESSOR_KWARGS", '{"a": NaN}', "NaN is not valid JSON"),
        ("OPTION_MM_PROCESSOR_KWARGS", '{"a":' * 100_000, "is not a JSON object"),
        ("OPTION_SERVED_MODEL_NAME", ",", "is empty"),
        ("OPTION_SERVED_MODEL_NAME", '["a", 1]', "is not a list of names"),
        ("OPTION_SERVED_MODEL_NAME", '["a"', "is not a JSON list"),
        ("OPTION_ALLOWED_MEDIA_DOMAINS", "https://a.example/", "give exact hosts without scheme"),
        ("OPTION_ALLOWED_MEDIA_DOMAINS", "*.example", "which is not a host"),
        ("OPTION_ALLOWED_MEDIA_DOMAINS", "[]", "is empty"),
        ("OPTION_MEDIA_ALLOWED_NETWORKS", "10.0.0.1/8", "write 10.0.0.0/8"),
        ("OPTION_MEDIA_ALLOWED_NETWORKS", "intranet", "write networks such as 10.0.0.0/8"),
        ("OPTION_CHAT_TEMPLATE", "missing.jinja", "there is no such file in /nowhere/model or "),
        ("OPTION_CHAT_TEMPLATE", "x" * 5000, "looks like a path"),
        ("OPTION_CHAT_TEMPLATE", "/", "is a directory"),
        ("OPTION_ENFORCE_EAGER", '"true"', "the quotation marks around it are part of the value: leave them out"),
        ("OPTION_LIMIT_MM_PER_PROMPT", "'image=2'", "the quotation marks around it are part of the value"),
        ("OPTION_MM_PROCESSOR_KWARGS", "{'a': 1}", "; JSON uses double quotation marks"),
        ("OPTION_IMAGE_INPUT_TYPE", "pixels", "is not one of pixel_values, image_features"),
        ("OPTION_IMAGE_INPUT_SHAPE", "336", "is not the shape of an image"),
        ("OPTION_IMAGE_INPUT_SHAPE", "1,3,x,336", "is not the shape of an image"),
        ("OPTION_IMAGE_INPUT_SHAPE", "1,3,0,336", "is not the shape of an image"),
        ("OPTION_IMAGE_FEATURE_SIZE", "0", "is not a whole number from 1 to"),
        ("OPTION_IMAGE_FEATURE_SIZE", "1000000000", "is not a whole number from 1 to"),
        ("OPTION_MAX_MODEL_LEN", "\uff14\uff10\uff19\uff16", "is not a number of tokens"),
        ("OPTION_SEED", "1_0", "is not a whole number"),
        ("HF_MODEL_ID", "https://huggingface.co/org/model", "; did you mean 'org/model'?"),
        ("HF_MODEL_ID", "https://huggingface.co/org/model/tree/main", "; did you mean 'org/model'?"),
        ("HF_MODEL_ID", "org/model/", "; did you mean 'org/model'?"),
        ("HF_MODEL_ID", "S3://bucket/model", "; write s3://bucket/prefix"),
        ("HF_MODEL_ID", "s3:/bucket/model", "; write s3://bucket/prefix"),
        ("HF_MODEL_ID", "/etc/passwd", "names a file, not a directory"),
        ("OPTION_CHAT_TEMPLATE_CONTENT_FORMAT", "xml", "is not one of auto, string, openai"),
        ("SAGEMAKER_BIND_TO_PORT", "70000", "is not a whole number from 1 to 65535"),
        ("OPTION_MAX_REQUEST_SIZE", "64 apples", "is not a number of bytes"),
        ("OPTION_OUTPUT_FORMATTER", "my_formatter", "is not one of json, jsonlines, sse"),
        ("OPTION_ERROR_COMPAT", "tgi", "is not one of none, lmi"),
        ("HF_MODEL_ID", "djl://ai.djl/x", "an address from which no model can be loaded"),
        ("HF_MODEL_ID", "s3://", "an address from which no model can be loaded"),
        ("HF_MODEL_ID", "a/b/c", "there is none in /nowhere/model or "),
        ("HF_MODEL_ID", "/nowhere/at/all", "names a local directory that does not exist; mount it"),
        ("OPTION_ENABLE_AUTO_TOOL_CHOICE", "true", "set OPTION_TOOL_CALL_PARSER"),
        ("HF_TASK", "text-embedding", "Lumi serves generation"),
        ("OPTION_TASK", "image-classification", "Lumi serves generation"),
    ],
)
def test_a_bad_value_refuses_to_start_naming_variable_value_and_cure(variable: str, text: str, words: str):
    fault = refusal({variable: text})
    assert fault.startswith(f"{variable}={repr(text[:100])[:-1]}")
    assert words in fault
    assert len(fault) < 500


def test_all_faults_are_told_together(directory: Path):
    write_properties(directory, "lonely\n")
    environ = {"OPTION_DTYPE": "int8", "OPTION_LIMIT_MM_PER_PROMT": "image=2", "SM_NUM_GPUS": "x"}
    first, *lines = refusal(environ, directory).splitlines()
    assert first == "4 settings are at fault:"
    assert sorted(line.split("=")[0].split(":")[0] for line in lines) == [
        "OPTION_DTYPE",
        "OPTION_LIMIT_MM_PER_PROMT",
        "SM_NUM_GPUS",
        "serving.properties line 1",
    ]


def test_a_value_that_would_lose_is_checked_as_well():
    assert refusal({"OPTION_TENSOR_PARALLEL_DEGREE": "1", "SM_NUM_GPUS": "x"}).startswith("SM_NUM_GPUS='x'")


# Names


@pytest.mark.parametrize(
    ("variable", "near"),
    [
        ("OPTION_LIMIT_MM_PER_PROMT", "OPTION_LIMIT_MM_PER_PROMPT"),
        ("OPTION_MAX_NUM_SEQ", "OPTION_MAX_NUM_SEQS"),
        ("OPTION_LOADFORMAT", "OPTION_LOAD_FORMAT"),
        ("OPTION_TENSOR_PARALLEL_DEGRE", "OPTION_TENSOR_PARALLEL_DEGREE"),
    ],
)
def test_a_misspelt_option_is_refused_with_the_nearest_name(variable: str, near: str):
    assert refusal({variable: "1"}) == f"{variable}='1' is not an option; did you mean {near}?"


def test_a_name_of_the_file_is_refused_in_the_environment():
    fault = refusal({"option.dtype": "bf16"})
    assert fault == "option.dtype is a name for serving.properties; in the environment, write OPTION_DTYPE"


@pytest.mark.parametrize("name", ["options.dtype", "option.option.dtype", "vllm.dtype"])
def test_a_prefix_that_is_wrong_is_told(name: str, directory: Path):
    assert refusal({}, write_properties(directory, f"{name}=bf16")).endswith("did you mean option.dtype?")


def test_a_comment_behind_a_value_is_told(directory: Path):
    write_properties(directory, "option.dtype=bf16  # the type")
    assert "a '#' after a value is part of it: put comments on lines of their own" in refusal({}, directory)


@pytest.mark.parametrize("text", ['"hf_HUSH"', "'hf_HUSH'", "hf_HUSH hf_HUSH"])
def test_a_token_with_quotation_marks_or_blanks_is_refused_unseen(text: str):
    assert refusal({"HF_TOKEN": text}).startswith("HF_TOKEN=*** has quotation marks or blanks")


@pytest.mark.parametrize(
    ("variable", "cure"),
    [
        ("OPTION_ZZZ", "remove it, or see docs/options.md for every option"),
        ("OPTION_MAX_CONTEXT_LEN", "did you mean OPTION_MAX_MODEL_LEN?"),
        ("OPTION_ZZZ-ZZZ", "remove it, or see docs/options.md for every option"),
    ],
)
def test_an_option_like_no_other_is_ignored_as_in_lmi_unless_the_user_is_strict(variable: str, cure: str):
    sentence = f"{variable}='1' is not an option and has no effect; {cure}"
    assert resolved({variable: "1"}).warnings == (sentence,)
    assert refusal({variable: "1", "OPTION_STRICT": "true"}) == sentence


def test_an_unknown_server_key_is_refused_if_the_user_is_strict():
    assert "is unknown and has no effect" in refusal({"SERVING_NONSENSE": "1", "OPTION_STRICT": "true"})


def test_private_fields_of_the_engine_are_no_options():
    (warning,) = resolved({"OPTION__PRIVATE": "1"}).warnings
    assert "is not an option" in warning


def test_dashes_are_answered_with_underscores(directory: Path):
    assert "write OPTION_MAX_MODEL_LEN" in refusal({"OPTION_MAX-MODEL-LEN": "1"})
    assert "write option.max_model_len" in refusal({}, write_properties(directory, "option.max-model-len=1"))


def test_a_misspelt_property_is_refused_with_its_line(directory: Path):
    write_properties(directory, "# c\noption.dtipe=bf16")
    assert refusal({}, directory) == (
        "option.dtipe='bf16' (serving.properties line 2) is not an option; did you mean option.dtype?"
    )


def test_a_field_of_the_engine_is_passed_on_as_it_was_written():
    found = resolved({"OPTION_LOAD_FORMAT": " auto ", "OPTION_HF_OVERRIDES": '{"a": 1}'})
    assert found.options.engine_arguments == {"load_format": "auto", "hf_overrides": '{"a": 1}'}
    assert found.origins["load_format"] == "OPTION_LOAD_FORMAT"


def test_the_engine_is_asked_only_about_names_that_no_table_knows():
    def unwanted() -> list[str]:
        raise AssertionError

    resolve(
        {"OPTION_DTYPE": "bf16", "OPTION_MAX_NUM_SEQS": "8", "OPTION_ROLLING_BATCH": "vllm", "OPTION_ENGINE": "Python"},
        engine_fields=unwanted,
        model_directory=NOWHERE,
    )


def test_an_unknown_server_key_is_a_warning_with_the_nearest_name():
    (warning,) = resolved({"SERVING_JOB_QUEUE_SIZ": "5"}).warnings
    assert warning == "SERVING_JOB_QUEUE_SIZ='5' is unknown and has no effect; did you mean SERVING_JOB_QUEUE_SIZE?"


def test_other_variables_of_the_machine_are_nobodys_business():
    assert resolved({"PATH": "/bin", "HOSTNAME": "x", "AWS_REGION": "eu-west-1", "VLLM_USE_V1": "1"}).warnings == ()


# Frozen


def test_options_cannot_be_changed():
    options = resolved({"OPTION_MM_PROCESSOR_KWARGS": '{"a": {"b": [1]}}', "OPTION_LOAD_FORMAT": "auto"}).options
    with pytest.raises(ValidationError):
        options.port = 1
    for mapping in (options.limit_mm_per_prompt, options.mm_processor_kwargs, options.engine_arguments):
        with pytest.raises(TypeError):
            mapping["new"] = 1  # type: ignore[index]


def test_options_survive_the_way_to_another_process():
    options = resolved({"OPTION_LIMIT_MM_PER_PROMPT": '{"image": {"count": 2, "width": 9}}', "HF_TOKEN": "t"}).options
    assert pickle.loads(pickle.dumps(options)) == options
    assert hash(options) == hash(options.model_copy(deep=True))


def test_options_may_be_built_from_python_values():
    options = Options(limit_mm_per_prompt={"image": 2}, port=1, served_model_name=["a"])  # type: ignore[arg-type]
    assert (options.limit_mm_per_prompt["image"], options.limit_mm_per_prompt["video"]) == (2, 0)
