import re
from pathlib import Path

import pytest

from tests.option_cases import option, refusal, resolved, write_properties

# Who wins


CHANNELS = [
    ("HF_REVISION", "option.revision", "revision"),
    ("HF_REVISION", "OPTION_REVISION", "revision"),
    ("option.revision", "OPTION_REVISION", "revision"),
    ("HF_MODEL_ID", "option.model_id", "model_id"),
    ("HF_MODEL_ID", "OPTION_MODEL_ID", "model_id"),
    ("option.model_id", "OPTION_MODEL_ID", "model_id"),
    ("option.quantize", "HF_MODEL_QUANTIZE", "quantize"),
    ("OPTION_QUANTIZE", "HF_MODEL_QUANTIZE", "quantize"),
    ("OPTION_QUANTIZE", "OPTION_QUANTIZATION", "quantize"),
    ("option.quantization", "OPTION_QUANTIZE", "quantize"),
    ("SAGEMAKER_STARTUP_TIMEOUT", "option.model_loading_timeout", "model_loading_timeout"),
    ("SAGEMAKER_STARTUP_TIMEOUT", "OPTION_MODEL_LOADING_TIMEOUT", "model_loading_timeout"),
    ("SAGEMAKER_STARTUP_TIMEOUT", "MODEL_LOADING_TIMEOUT", "model_loading_timeout"),
    ("OPTION_MODEL_LOADING_TIMEOUT", "MODEL_LOADING_TIMEOUT", "model_loading_timeout"),
    ("SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS", "option.predict_timeout", "predict_timeout"),
    ("SAGEMAKER_MAX_REQUEST_SIZE", "option.max_request_size", "max_request_size"),
    ("SAGEMAKER_MAX_REQUEST_SIZE", "SAGEMAKER_MAX_PAYLOAD_IN_MB", "max_request_size"),
    ("SAGEMAKER_MAX_PAYLOAD_IN_MB", "SERVING_MAX_REQUEST_SIZE", "max_request_size"),
    ("OPTION_JOB_QUEUE_SIZE", "SERVING_JOB_QUEUE_SIZE", "job_queue_size"),
    ("SERVING_JOB_QUEUE_SIZE", "MAX_CONCURRENT_REQUESTS", "job_queue_size"),
    ("job_queue_size", "SERVING_JOB_QUEUE_SIZE", "job_queue_size"),
    ("OPTION_MAX_ROLLING_BATCH_SIZE", "OPTION_MAX_NUM_SEQS", "max_rolling_batch_size"),
    ("OPTION_MAX_NUM_SEQS", "MAX_BATCH_SIZE", "max_rolling_batch_size"),
    ("OPTION_TENSOR_PARALLEL_DEGREE", "TENSOR_PARALLEL_DEGREE", "tensor_parallel_degree"),
    ("TENSOR_PARALLEL_DEGREE", "SM_NUM_GPUS", "tensor_parallel_degree"),
    ("SAGEMAKER_BIND_TO_PORT", "OPTION_PORT", "port"),
    ("option.load_format", "OPTION_LOAD_FORMAT", None),
]


@pytest.mark.parametrize(("winner", "loser", "name"), CHANNELS)
def test_of_two_channels_one_wins_and_a_warning_names_both(winner: str, loser: str, name: str | None, directory: Path):
    texts = {winner: "7", loser: "8"}
    lines = [f"{label}={text}" for label, text in texts.items() if label != label.upper()]
    write_properties(directory, "\n".join(lines))
    (directory / "config.json").unlink()
    found = resolved({label: text for label, text in texts.items() if label == label.upper()}, directory)
    value = getattr(found.options, name) if name else found.options.engine_arguments["load_format"]
    assert str(value) in ("7", "7.0", str(7 * 2**20))
    (warning,) = found.warnings
    assert re.fullmatch(rf"{winner}='7'.* is used and {loser}='8'.* is not; remove one of them", warning)


@pytest.mark.parametrize(
    "environ",
    [
        {"OPTION_DTYPE": "bf16", "OPTION_dtype": "bfloat16"},
        {"OPTION_MAX_NUM_SEQS": "64", "OPTION_MAX_ROLLING_BATCH_SIZE": " 64 ", "MAX_BATCH_SIZE": "64"},
        {"OPTION_TENSOR_PARALLEL_SIZE": "1", "OPTION_TENSOR_PARALLEL_DEGREE": "1", "SM_NUM_GPUS": "1"},
        {"ENABLE_CUDA_GRAPHS": "true", "OPTION_ENFORCE_EAGER": "false"},
        {"SAGEMAKER_MAX_REQUEST_SIZE": "1048576", "SAGEMAKER_MAX_PAYLOAD_IN_MB": "1"},
    ],
)
def test_channels_that_agree_cause_no_warning(environ: dict[str, str]):
    assert resolved(environ).warnings == ()


def test_capitals_win_over_another_case():
    found = resolved({"OPTION_dtype": "fp16", "OPTION_DTYPE": "bf16"})
    assert found.options.dtype == "bfloat16"
    assert len(found.warnings) == 1


# serving.properties


def test_properties_are_read_with_and_without_prefix_and_in_camel_case(directory: Path):
    write_properties(
        directory, 'engine=Python\ndtype=bf16\noption.maxModelLen=512\noption.limit_mm_per_prompt={"image":3}'
    )
    found = resolved({}, directory)
    options = found.options
    assert (options.dtype, options.max_model_len, options.limit_mm_per_prompt["image"]) == ("bfloat16", 512, 3)
    assert found.origins["max_model_len"] == "serving.properties line 3"
    assert found.warnings == ()


def test_of_a_property_that_stands_twice_the_last_counts(directory: Path):
    write_properties(directory, "option.dtype=fp16\n\ndtype=bf16")
    found = resolved({}, directory)
    assert found.options.dtype == "bfloat16"
    (warning,) = found.warnings
    assert warning.startswith("dtype='bf16' (serving.properties line 3) replaces option.dtype of line 1")


def test_a_file_that_cannot_be_read_refuses_to_start(directory: Path):
    (directory / "serving.properties").mkdir()
    assert f"{directory / 'serving.properties'} cannot be read" in refusal({}, directory)


def test_a_file_that_is_no_text_refuses_to_start(directory: Path):
    (directory / "serving.properties").write_bytes(b"dtype=\xff")
    assert "is not UTF-8 at byte 7" in refusal({}, directory)


@pytest.mark.parametrize("variable", ["HF_MODEL_ID", "OPTION_MODEL_ID"])
def test_the_file_beside_a_local_model_counts_before_that_of_the_model_directory(
    variable: str, directory: Path, tmp_path_factory: pytest.TempPathFactory
):
    other = write_properties(tmp_path_factory.mktemp("other"), "dtype=bf16")
    write_properties(directory, "dtype=fp16")
    found = resolved({variable: str(other)}, directory)
    assert (found.options.model_id, found.options.dtype) == (str(other), "bfloat16")
    assert any("is not read, because" in warning for warning in found.warnings)


def test_the_file_of_the_model_directory_counts_where_the_model_has_none(directory: Path):
    write_properties(directory, "dtype=bf16")
    (directory / "config.json").unlink()
    assert resolved({"HF_MODEL_ID": "org/model"}, directory).options.dtype == "bfloat16"


# The model


def test_the_model_directory_is_the_model_where_nothing_names_one(directory: Path):
    found = resolved({}, directory)
    assert (found.options.model_id, found.origins["model_id"]) == (str(directory), str(directory))


def test_params_json_makes_a_model_as_well(tmp_path: Path):
    (tmp_path / "params.json").write_text("{}")
    assert resolved({}, tmp_path).options.model_id == str(tmp_path)


def test_a_directory_without_a_model_is_not_the_model_and_a_warning_says_so(tmp_path: Path):
    assert resolved({}, tmp_path).warnings == ()
    (tmp_path / "dummy.txt").write_text("x")
    found = resolved({}, tmp_path)
    assert found.options.model_id is None
    assert found.warnings == (f"{tmp_path} holds no config.json or params.json, so it is not taken for the model",)


def test_a_named_model_is_served_alone_and_a_warning_tells_of_the_mounted_one(directory: Path):
    found = resolved({"HF_MODEL_ID": "org/model"}, directory)
    assert found.options.model_id == "org/model"
    assert found.warnings == (f"HF_MODEL_ID='org/model' is served, and the model in {directory} is not",)


def test_naming_the_model_directory_itself_causes_no_warning(directory: Path):
    assert resolved({"OPTION_MODEL_ID": str(directory)}, directory).warnings == ()


@pytest.mark.parametrize("text", ["org/model", "gpt2", "s3://bucket/prefix/", "s3://bucket"])
def test_hub_ids_and_s3_addresses_stand_as_they_are(text: str):
    assert option("model_id", HF_MODEL_ID=text) == text


@pytest.mark.parametrize("text", ["sub", "./sub", "sub/"])
def test_a_local_model_may_be_relative_to_the_model_directory(text: str, directory: Path):
    (directory / "sub").mkdir()
    (directory / "config.json").unlink()
    assert resolved({}, write_properties(directory, f"option.model_id={text}")).options.model_id == str(
        directory / "sub"
    )


def test_a_chat_template_may_be_relative_to_the_model_directory(directory: Path):
    (directory / "chat.jinja").write_text("{{ messages }}")
    found = resolved({"OPTION_CHAT_TEMPLATE": "chat.jinja"}, directory)
    assert found.options.chat_template == str(directory / "chat.jinja")
