from pathlib import Path

import pytest

from container.options import TABLE, lmi
from container.options.explanation import explain
from tests.option_cases import refusal, resolved, write_properties

# What LMI documents and Lumi does not need


@pytest.mark.parametrize(
    ("variable", "text", "words"),
    [
        ("OPTION_NUM_SCHEDULER_STEPS", "8", "vLLM no longer has it"),
        ("OPTION_ROLLING_BATCH", "lmi-dist", "Lumi always batches continuously in vLLM"),
        ("OPTION_entryPoint", "model.py", "code of your own is not run yet"),
        ("OPTION_ENTRYPOINT", "model.py", "code of your own is not run yet"),
        ("DJL_ENTRY_POINT", "model.py", "code of your own is not run yet"),
        ("OPTION_ENABLE_LORA", "true", "LoRA adapters are not served yet"),
        ("OPTION_ENABLE_REASONING", "true", "deprecated; OPTION_REASONING_PARSER"),
        ("OPTION_SWAP_SPACE", "4", "vLLM no longer has it"),
        ("OPTION_DEVICE_MAP", "balanced", "vLLM places the model itself"),
        ("OPTION_PARALLEL_LOADING", "true", "loads the model once"),
        ("SERVING_MIN_WORKERS", "2", "one engine serves all requests"),
        ("SERVING_LOAD_MODELS", "NONE", "Lumi serves one model"),
        ("SERVING_OPTS", "-Xmx1g", "no Java runs here"),
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
        ("OPTION_ASYNC_MODE", "true"),
        ("OPTION_ENTRYPOINT", "djl_python.lmi_vllm.vllm_async_service"),
        ("HF_TASK", "Image-Text-to-Text"),
        ("HF_TASK", "text-generation"),
        ("OPTION_TASK", "auto"),
        ("SERVING_MAX_WORKERS", "1"),
        ("SERVING_FEATURES", "vllm"),
        ("SERVING_LOAD_MODELS", "ALL"),
        ("SERVING_FAIL_FAST", "true"),
    ],
)
def test_a_setting_of_lmi_that_asks_for_what_happens_anyway_is_silent(variable: str, text: str):
    assert resolved({variable: text}).warnings == ()


def test_every_name_that_lmi_documents_is_known():
    for name, accepted in lmi.option_names().items():
        if not accepted.is_refused("some value"):
            resolved({f"OPTION_{name.upper()}": "some value"})


def test_server_keys_in_the_file_are_known(directory: Path):
    write_properties(directory, "minWorkers=2\ngpu.minWorkers=2\nload_on_devices=0\nmax_idle_time=60\nmodel_store=/x")
    assert len(resolved({}, directory).warnings) == 5


def test_no_option_is_declared_twice():
    names = [name for entry in TABLE for name in entry.names]
    variables = [name for entry in TABLE for name in entry.variables]
    assert len(set(names)) == len(names)
    assert len(set(variables)) == len(variables)
    assert not set(names) & (set(lmi.option_names()) | set(lmi.server_keys()))
    assert not set(variables) & set(lmi.variables())


# Secrets


@pytest.mark.parametrize(
    "environ",
    [
        {"HF_TOKEN": "hf_SECRET", "OPTION_HF_TOKEN": "other_SECRET"},
        {"OPTION_ENV": "HF_TOKEN=SECRET,A=1"},
        {"SERVING_KEYSTORE_PASS": "SECRET"},
        {"SERVING_SOME_KEY": "SECRET"},
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
        {"OPTION_SSL_KEYFILE_PASSWORD": "SECRET"},
        {"OPTION_MY_PASSWORD": "SECRET"},
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
    environ = {f"OPTION_{name}": "12"}
    told = refusal(environ) if name == "TOKENIZER_MOD" else explain(resolved(environ))
    assert "***" not in told
    assert "12" in told
