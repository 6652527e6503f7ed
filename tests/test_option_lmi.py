from pathlib import Path

import pytest

from container.options import TABLE, lmi
from container.options.explanation import explain
from container.options.parsers.modality_limits import ModalityLimits
from tests.option_cases import refusal, resolved, write_properties

# What LMI documents and Lumi does not need


@pytest.mark.parametrize(
    ("variable", "text", "words"),
    [
        ("OPTION_NUM_SCHEDULER_STEPS", "8", "vLLM no longer has it"),
        ("OPTION_ROLLING_BATCH", "trtllm", "Lumi always batches continuously in vLLM"),
        ("OPTION_ADAPTERS", "a", "OPTION_LORA_MODULES"),
        ("OPTION_PAGED_ATTENTION", "false", "vLLM always pages the KV cache"),
        ("OPTION_MAX_NEW_TOKENS", "100", "OPTION_OVERRIDE_GENERATION_CONFIG"),
        ("OPTION_MAX_ROLLING_BATCH", "8", "OPTION_MAX_ROLLING_BATCH_SIZE"),
        ("OPTION_ENABLE_CHUNCKED_PREFILL", "true", "misspelt for enable_chunked_prefill"),
        ("MAX_TOTAL_TOKENS", "4096", "OPTION_MAX_MODEL_LEN"),
        ("SAGEMAKER_MODEL_SERVER_WORKERS", "2", "one engine serves all requests"),
        ("OPTION_LORA_EXTRA_VOCAB_SIZE", "256", "vLLM no longer has it"),
        ("OPTION_INPUT_FORMATTER", "mine", "the function with @input_formatter in your model.py is used"),
        ("OPTION_ENABLE_REASONING", "true", "deprecated; OPTION_REASONING_PARSER"),
        ("OPTION_SWAP_SPACE", "4", "vLLM no longer has it"),
        ("OPTION_DEVICE_MAP", "balanced", "vLLM places the model itself"),
        ("OPTION_PARALLEL_LOADING", "true", "loads the model once"),
        ("SERVING_MIN_WORKERS", "2", "one engine serves all requests"),
        ("ARGS_FOO", "1", "write OPTION_<NAME>"),
        ("SM_NEO_EXECUTION_CONTEXT", "1", "SageMaker Neo"),
        ("LMI_DEBUG_NSYS_ENABLED", "1", "profiler"),
        ("DJL_WORKER_ADDR_FORMAT", "lmi-%d", "OPTION_NODE_RANK"),
        ("SM_TELEMETRY_LOG_REV_2022_12", "/x", "standard output"),
        ("HF_HUB_ENABLE_HF_TRANSFER", "1", "HF_XET_HIGH_PERFORMANCE"),
        ("SERVING_MANAGEMENT_ADDRESS", "http://127.0.0.1:8081", "all routes have one address"),
        ("SERVING_OPTS", "-Xmx1g", "there is no Java server"),
        ("SAGEMAKER_MULTI_MODEL", "true", "Lumi serves one model"),
        ("SAGEMAKER_NUM_MODEL_WORKERS", "2", "one engine serves all requests"),
        ("HF_MODEL_REVISION", "main", "set HF_REVISION"),
    ],
)
def test_a_setting_of_lmi_without_effect_is_a_warning_that_says_what_happens(variable: str, text: str, words: str):
    (warning,) = resolved({variable: text}).warnings
    assert warning.startswith(f"{variable}={text!r} has no effect: ")
    assert words in warning


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("OPTION_ENGINE", "Python"),
        ("OPTION_ROLLING_BATCH", "auto"),
        ("OPTION_ROLLING_BATCH", "lmi-dist"),
        ("OPTION_ASYNC_MODE", "true"),
        ("OPTION_ADAPTERS", "adapters"),
        ("OPTION_PAGED_ATTENTION", "true"),
        ("SAGEMAKER_MODEL_SERVER_WORKERS", "1"),
        ("OPTION_ENTRYPOINT", "djl_python.lmi_vllm.vllm_async_service"),
        ("HF_TASK", "Image-Text-to-Text"),
        ("HF_TASK", "text-generation"),
        ("OPTION_TASK", "auto"),
        ("SERVING_MAX_WORKERS", "1"),
        ("SERVING_FEATURES", "vllm"),
        ("SERVING_LOAD_MODELS", "ALL"),
        ("SERVING_FAIL_FAST", "true"),
        ("SAGEMAKER_SAFE_PORT_RANGE", "9000-9999"),
    ],
)
def test_a_setting_of_lmi_that_asks_for_what_happens_anyway_is_silent(variable: str, text: str):
    assert resolved({variable: text}).warnings == ()


def test_every_name_that_lmi_documents_is_known():
    for name, accepted in lmi.option_names().items():
        if not accepted.is_refused("some value"):
            resolved({f"OPTION_{name.upper()}": "some value"})


def test_no_setting_of_lmi_stands_in_two_rows():
    names = [name for row in (*lmi.OPTIONS, *lmi.SERVER_KEYS) for name in row.names]
    variables = [variable for row in (*lmi.OPTIONS, *lmi.SERVER_KEYS, *lmi.VARIABLES) for variable in row.variables]
    assert sorted(set(names)) == sorted(names)
    assert sorted(set(variables)) == sorted(variables)


def test_server_keys_in_the_file_are_known(directory: Path):
    write_properties(directory, "minWorkers=2\ngpu.minWorkers=2\nload_on_devices=0\nmax_idle_time=60\nmodel_store=/x")
    assert len(resolved({}, directory).warnings) == 5


def test_no_option_is_declared_twice():
    names = [name for entry in TABLE for name in entry.names]
    # SM_HOSTS says two things: how many hosts there are, and which is the first.
    variables = [name for entry in TABLE for name in entry.variables if name != "SM_HOSTS"]
    assert len(set(names)) == len(names)
    # An address is a host and a port.
    assert sorted(variables) == sorted([*set(variables), "SERVING_INFERENCE_ADDRESS"])
    assert not set(names) & (set(lmi.option_names()) | set(lmi.server_keys()))
    assert not set(variables) & set(lmi.variables())


# Secrets


@pytest.mark.parametrize(
    "environ",
    [
        {"HF_TOKEN": "hf_SECRET", "OPTION_HF_TOKEN": "other_SECRET"},
        {"OPTION_ENV": "MY_TOKEN=SECRET,A=1"},
        {"OPTION_ENV": '{"DB_PASSWD": "SECRET,1"}'},
        {"SERVING_KEYSTORE_PASS": "SECRET"},
        {"SERVING_SOME_KEY": "SECRET"},
        {"OPTION_MY_PASSWORD": "SECRET"},
        {"OPTION_LOAD_FORMAT": '{"aws_secret_access_key": "SECRET"}'},
    ],
)
def test_secrets_are_masked_in_warnings_and_in_the_explanation(environ: dict[str, str]):
    found = resolved(environ)
    told = "\n".join((*found.warnings, explain(found)))
    assert "SECRET" not in told
    assert "***" in told


@pytest.mark.parametrize(
    "environ",
    [
        {"OPTION_HF_TOKN": "SECRET"},
        {"OPTION_SSL_KEYFILE_PASSWORD": "SECRET", "OPTION_STRICT": "true"},
        {"OPTION_ALLOWED_MEDIA_DOMAINS": "https://me:SECRET@host.example"},
        {"OPTION_DTYPE": "hf_SECRETSECRETSECRET"},
        {"HF_MODEL_ID": "https://me:SECRET@host.example/model"},
        {"OPTION_MM_PROCESSOR_KWARGS": '{"api_key": "SECRET", '},
    ],
)
def test_secrets_are_masked_in_faults(environ: dict[str, str]):
    fault = refusal(environ)
    assert "SECRET" not in fault
    assert "***" in fault


@pytest.mark.parametrize("name", ["MAX_ROLLING_BATCH_PREFILL_TOKENS", "IMAGE_PLACEHOLDER_TOKEN", "TOKENIZER_MOD"])
def test_names_that_only_sound_secret_are_shown(name: str):
    found = resolved({f"OPTION_{name}": "12"})
    told = "\n".join((*found.warnings, explain(found)))
    assert "***" not in told
    assert "12" in told


# Faults of LMI's own resolution, which must not be here


@pytest.mark.parametrize(
    ("environ", "arguments"),
    [
        ({"OPTION_DTYPE": "bfloat16"}, {"dtype": "bfloat16"}),
        ({"OPTION_DTYPE": "float16"}, {"dtype": "float16"}),
        ({"OPTION_DTYPE": "float32"}, {"dtype": "float32"}),
        ({"OPTION_MAX_NUM_SEQS": "64"}, {"max_num_seqs": 64}),
        ({"OPTION_TENSOR_PARALLEL_SIZE": "1", "TENSOR_PARALLEL_DEGREE": "1"}, {"tensor_parallel_size": 1}),
        ({"OPTION_PIPELINE_PARALLEL_DEGREE": "2"}, {"pipeline_parallel_size": 2}),
        ({"OPTION_LIMIT_MM_PER_PROMPT": "image=2"}, {"limit_mm_per_prompt": {"image": 2, "video": 0, "audio": 0}}),
    ],
)
def test_what_lmi_fails_to_load_with_reaches_vllm(environ: dict[str, str], arguments: dict[str, object]):
    found = resolved(environ)
    assert found.warnings == ()
    assert found.options.vllm_arguments().items() >= arguments.items()


def test_what_nobody_set_is_not_told_to_vllm():
    arguments = resolved({}).options.vllm_arguments()
    assert {"revision", "quantization"}.isdisjoint(arguments)
    assert not [value for value in arguments.values() if value in (None, "None")]


# vLLM 0.5's options of images


LEGACY = {
    "OPTION_IMAGE_INPUT_TYPE": "pixel_values",
    "OPTION_IMAGE_TOKEN_ID": "32000",
    "OPTION_IMAGE_INPUT_SHAPE": "1,3,336,336",
    "OPTION_IMAGE_FEATURE_SIZE": "576",
}


def test_the_options_of_vllm_05_are_taken_together():
    found = resolved(LEGACY)
    options = found.options
    assert (options.image_feature_size, options.image_placeholder_token) == (576, "<image>")
    assert options.vllm_arguments()["limit_mm_per_prompt"]["image"] == {"count": 1, "width": 336, "height": 336}
    assert options.vllm_arguments()["enable_mm_embeds"] is False
    ignored, planned = found.warnings
    assert ignored.startswith("OPTION_IMAGE_TOKEN_ID='32000' has no effect: vLLM reads the token from the model")
    assert planned.startswith("OPTION_IMAGE_INPUT_SHAPE='1,3,336,336' plans memory for images of up to 336x336")


def test_image_features_are_image_embeddings():
    assert resolved({"OPTION_IMAGE_INPUT_TYPE": "image_features"}).options.vllm_arguments()["enable_mm_embeds"] is True
    (warning,) = resolved({"OPTION_ENABLE_MM_EMBEDS": "true", "OPTION_IMAGE_INPUT_TYPE": "pixel_values"}).warnings
    assert warning.startswith(
        "OPTION_ENABLE_MM_EMBEDS='true' is used and OPTION_IMAGE_INPUT_TYPE='pixel_values' is not"
    )


@pytest.mark.parametrize(
    ("text", "size"), [("1,3,480,640", (640, 480)), ("(1, 3, 336, 336)", (336, 336)), ("672,336", (336, 672))]
)
def test_the_shape_ends_in_height_and_width(text: str, size: tuple[int, int]):
    assert resolved({"OPTION_IMAGE_INPUT_SHAPE": text}).options.image_input_shape == size


def test_sizes_of_the_limits_win_over_the_shape():
    environ = {"OPTION_IMAGE_INPUT_SHAPE": "1,3,336,336"}
    limits = '{"image": {"count": 2, "width": 100, "height": 50}}'
    found = resolved(environ | {"OPTION_LIMIT_MM_PER_PROMPT": limits})
    assert found.options.limit_mm_per_prompt.sizes["image"] == {"width": 100, "height": 50}
    (warning,) = found.warnings
    assert "is used and OPTION_IMAGE_INPUT_SHAPE='1,3,336,336' is not" in warning


def test_the_shape_keeps_the_counts():
    found = resolved({"OPTION_IMAGE_INPUT_SHAPE": "1,3,8,9", "OPTION_LIMIT_MM_PER_PROMPT": "image=3,video=0"})
    assert found.options.limit_mm_per_prompt == ModalityLimits(
        {"image": 3, "video": 0}, {"image": {"width": 9, "height": 8}}
    )


def test_a_placeholder_that_is_named_is_kept():
    environ = {"OPTION_IMAGE_FEATURE_SIZE": "576", "OPTION_IMAGE_PLACEHOLDER_TOKEN": "<|image|>"}
    assert resolved(environ).options.image_placeholder_token == "<|image|>"
    assert resolved({}).options.image_placeholder_token is None


# Further variables of the engine


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("A=1,B=two words , C=", {"A": "1", "B": "two words", "C": ""}),
        ("A=b=c", {"A": "b=c"}),
        ('{"CUDA_VISIBLE_DEVICES": "0,1"}', {"CUDA_VISIBLE_DEVICES": "0,1"}),
        ("VLLM_LOGGING_LEVEL=DEBUG,", {"VLLM_LOGGING_LEVEL": "DEBUG"}),
    ],
)
def test_variables_of_the_engine_are_read(text: str, variables: dict[str, str]):
    assert resolved({"OPTION_ENV": text}).options.env == variables


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("CUDA_VISIBLE_DEVICES=0,1", "has a part without '='"),
        ("just a text", "has a part without '='"),
        ("A=1,A=2", "has A twice"),
        ("my var=1", "has 'my var', which is not the name of a variable"),
        ("=1", "which is not the name of a variable"),
        ('{"A": 1}', "has a value of 'A' that is not text"),
        ('{"A": "1"', "is not a JSON object"),
        ("LD_PRELOAD=/x.so", "decides what code runs"),
        ("ld_library_path=/x", "decides what code runs"),
        ("PYTHONPATH=/x", "decides what code runs"),
        ("https_proxy=http://x", "decides what code runs"),
        ("VLLM_ALLOW_INSECURE_SERIALIZATION=1", "decides what code runs"),
        ("OPTION_DTYPE=bf16", "write option.dtype as an option of its own"),
        ("SERVING_PORT=1", "set it in the container's own environment"),
        ("HF_TOKEN=x", "which Lumi reads itself; write option.hf_token instead"),
        ("VLLM_IMAGE_FETCH_TIMEOUT=3", "write option.image_fetch_timeout instead"),
    ],
)
def test_a_bad_variable_of_the_engine_is_refused(text: str, words: str):
    assert words in refusal({"OPTION_ENV": text})


def test_a_variable_of_the_container_gives_way_and_a_warning_tells():
    found = resolved({"OPTION_ENV": "VLLM_X=1,VLLM_Y=2", "VLLM_X": "2", "VLLM_Y": "2"})
    assert found.warnings == (
        "OPTION_ENV='VLLM_X=1,VLLM_Y=2' is used for VLLM_X, and the container's own VLLM_X is not",
    )


# The address to listen on


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("http://0.0.0.0:8080", "0.0.0.0", 8080),
        ("http://127.0.0.1:9000/", "127.0.0.1", 9000),
        ("http://[::1]:9000", "::1", 9000),
        ("http://localhost", "localhost", 80),
    ],
)
def test_the_address_of_lmis_server_is_listened_on(text: str, host: str, port: int):
    found = resolved({"SERVING_INFERENCE_ADDRESS": text})
    assert (found.options.host, found.options.port, found.warnings) == (host, port, ())


@pytest.mark.parametrize(
    "text", ["https://0.0.0.0:8443", "unix:/tmp/sock", "0.0.0.0:8080", "http://:80", "http://x:99999"]
)
def test_an_address_that_cannot_be_listened_on_is_refused(text: str):
    assert refusal({"SERVING_INFERENCE_ADDRESS": text}).startswith(f"SERVING_INFERENCE_ADDRESS='{text}' is no")
