import itertools
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from container.options import TABLE, Resolved, resolve
from container.options.declaration import Option
from handler.errors import OptionError
from tests.option_cases import ENGINE_FIELDS, model_at, option, refusal, resolved, write_properties

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
    ("OPTION_PREDICT_TIMEOUT", "PREDICT_TIMEOUT", "predict_timeout"),
    ("PREDICT_TIMEOUT", "SERVING_CHUNKED_READ_TIMEOUT", "predict_timeout"),
    ("OPTION_MODEL_ID", "SERVING_LOAD_MODELS", "model_id"),
    ("HF_MODEL_ID", "SERVING_LOAD_MODELS", "model_id"),
    ("OPTION_MODEL_ID", "OPTION_S3URL", "model_id"),
    ("OPTION_PIPELINE_PARALLEL_DEGREE", "PIPELINE_PARALLEL_DEGREE", "pipeline_parallel_degree"),
    ("OPTION_MAX_ROLLING_BATCH_PREFILL_TOKENS", "MAX_BATCH_PREFILL_TOKENS", "max_rolling_batch_prefill_tokens"),
    ("OPTION_IMAGE_FETCH_TIMEOUT", "VLLM_IMAGE_FETCH_TIMEOUT", "image_fetch_timeout"),
    ("option.max_num_seqs", "SM_VLLM_MAX_NUM_SEQS", "max_rolling_batch_size"),
    ("OPTION_MAX_ROLLING_BATCH_SIZE", "SM_VLLM_MAX_NUM_SEQS", "max_rolling_batch_size"),
    ("SM_VLLM_MAX_NUM_SEQS", "MAX_BATCH_SIZE", "max_rolling_batch_size"),
    ("SM_VLLM_TENSOR_PARALLEL_SIZE", "SM_NUM_GPUS", "tensor_parallel_degree"),
    ("OPTION_LOAD_FORMAT", "SM_VLLM_LOAD_FORMAT", None),
    ("HF_MODEL_ID", "SM_VLLM_MODEL", "model_id"),
    ("OPTION_MODEL_ID", "SM_VLLM_MODEL", "model_id"),
    ("SM_VLLM_MODEL", "SERVING_LOAD_MODELS", "model_id"),
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


TEXTS = ("false", "true", "1", "2", "a", "b", "http://h:1", "http://i:2", "bf16", "fp16", "0.5", "image=2", "image=3",
         '{"a": "1"}', '{"b": "2"}', "10.0.0.0/8", "11.0.0.0/8", "1,3,8,8", "1,3,9,9", "string", "openai", "json",
         "sse", "none", "lmi", "debug", "error", "image_features", '["algo-1", "algo-2"]', "algo-1", "x=/a", "y=/b",
         "/a", "/b", "always", "never")  # fmt: skip


def read(entry: Option, label: str, text: str) -> object:
    try:
        return entry.parser(label, label.removeprefix("OPTION_").lower())(text)
    except ValueError:
        return None


def opposed(entry: Option, winner: str, loser: str) -> tuple[str, str]:
    """Two texts that the labels understand, each as something else."""
    if entry.name == "chat_template":  # any text is one, as a path
        return "{{a}}", "{{b}}"
    if entry.name == "entry_point":  # any other must be there
        return "djl_python.a", "djl_python.b"
    return next(
        (won, lost)
        for won in TEXTS
        for lost in TEXTS
        if (first := read(entry, winner, won)) is not None
        and (second := read(entry, loser, lost)) is not None
        and first != second
    )


PAIRS = [
    pytest.param(entry, winner, loser, id=f"{winner}-{loser}")
    for entry in TABLE
    for winner, loser in itertools.pairwise(entry.variables)
]


@pytest.mark.parametrize(("entry", "winner", "loser"), PAIRS)
def test_of_all_the_variables_of_an_option_the_better_wins(entry: Option, winner: str, loser: str):
    won, lost = opposed(entry, winner, loser)
    found = resolved({winner: won, loser: lost})
    assert found.origins[entry.name] == winner
    told = [warning for warning in found.warnings if f"{winner}=" in warning and f" is used and {loser}=" in warning]
    assert len(told) >= 1


@pytest.mark.parametrize("entry", TABLE, ids=lambda entry: entry.name)
def test_the_file_wins_over_the_variable_of_every_option(entry: Option, tmp_path: Path):
    variable = f"OPTION_{entry.name.upper()}"
    won, lost = opposed(entry, variable, variable)
    needed = {"OPTION_ENABLE_LORA": "true"} if entry.name in ("lora_modules", "default_mm_loras") else {}
    found = resolved({variable: lost, **needed}, write_properties(tmp_path, f"option.{entry.name}={won}"))
    assert found.origins[entry.name] == "serving.properties line 1"
    assert any(f"option.{entry.name}=" in text and f" is used and {variable}=" in text for text in found.warnings)


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


def test_a_file_from_another_system_is_read(directory: Path):
    text = 'option.dtype=bf16\r\noption.limit_mm_per_prompt={\\\r\n  "image": 2}\r\n'
    (directory / "serving.properties").write_bytes(b"\xef\xbb\xbf" + text.encode())
    options = resolved({}, directory).options
    assert (options.dtype, options.limit_mm_per_prompt["image"]) == ("bfloat16", 2)


def test_a_file_that_is_no_file_of_options_is_refused(directory: Path):
    (directory / "serving.properties").write_bytes(b"#" * (2**20 + 1))
    assert "has more than 1048576 bytes, so it is not a file of options" in refusal({}, directory)


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


def test_an_empty_directory_is_nobodys_business(tmp_path: Path):
    assert resolved({}, tmp_path).options.model_id is None
    assert resolved({}, write_properties(tmp_path, "dtype=bf16")).options.model_id is None


def test_a_directory_without_a_model_says_what_was_looked_for(tmp_path: Path):
    (tmp_path / "dummy.txt").write_text("x")
    fault = refusal({}, tmp_path)
    assert fault.startswith(f"The directory {tmp_path} contains no model: it needs config.json or params.json, but ")
    assert "there is dummy.txt." in fault
    assert fault.endswith("HF_MODEL_ID does.")


def test_of_several_models_in_the_model_directory_one_has_to_be_named(tmp_path: Path):
    model_at(tmp_path / "one")
    model_at(tmp_path / "two")
    assert "contains several models: one, two; name one of them" in refusal({}, tmp_path)
    found = resolved({"OPTION_MODEL_ID": "two"}, tmp_path)
    assert (found.options.model_id, found.warnings) == (str(tmp_path / "two"), ())


@pytest.mark.parametrize("text", ["x", "{}"])
def test_a_named_model_beside_a_file_in_the_model_directory_is_one_model(text: str, tmp_path: Path):
    # The local mode of the SageMaker SDK needs a dummy file there.
    (tmp_path / "dummy.txt").write_text(text)
    found = resolved({"HF_MODEL_ID": "org/model"}, tmp_path)
    assert (found.options.model_id, found.warnings) == ("org/model", ())


# LMI's model store: the model in a directory of its own


def test_the_single_directory_with_a_model_in_it_is_the_model(tmp_path: Path):
    inner = model_at(tmp_path / "test")
    (tmp_path / "code").mkdir()
    write_properties(inner, "dtype=bf16")
    (inner / "chat.jinja").write_text("{{ messages }}")
    found = resolved({"OPTION_CHAT_TEMPLATE": "chat.jinja"}, tmp_path)
    assert (found.options.model_id, found.options.dtype) == (str(inner), "bfloat16")
    assert found.options.chat_template == str(inner / "chat.jinja")
    assert (found.origins["model_id"], found.warnings) == (str(inner), ())


def test_the_file_of_the_store_counts_before_that_of_the_model_in_it(tmp_path: Path):
    inner = write_properties(model_at(tmp_path / "test"), "dtype=bf16")
    found = resolved({}, write_properties(tmp_path, "dtype=fp16"))
    assert (found.options.model_id, found.options.dtype) == (str(inner), "float16")
    (warning,) = found.warnings
    assert warning.startswith(f"{inner}/serving.properties is not read, because {tmp_path}/serving.properties")


def test_a_named_model_beside_the_only_one_of_the_store_is_served_alone(tmp_path: Path):
    inner = model_at(tmp_path / "test")
    (warning,) = resolved({"HF_MODEL_ID": "org/model"}, tmp_path).warnings
    assert warning == f"HF_MODEL_ID='org/model' is served, and the model in {inner} is not"


def test_the_file_of_another_model_does_not_count(tmp_path: Path):
    write_properties(model_at(tmp_path / "test"), "dtype=bf16")
    assert resolved({"HF_MODEL_ID": "org/model"}, tmp_path).options.dtype == "auto"


def test_the_store_may_be_elsewhere(tmp_path: Path):
    inner = write_properties(model_at(tmp_path / "store" / "test"), "dtype=bf16")
    found = resolved({"SERVING_MODEL_STORE": str(tmp_path / "store")}, tmp_path / "nothing")
    assert (found.options.model_id, found.options.dtype, found.warnings) == (str(inner), "bfloat16", ())


def test_a_store_that_does_not_exist_is_refused_unless_a_model_is_named(tmp_path: Path):
    environ = {"SERVING_MODEL_STORE": str(tmp_path / "typo")}
    assert "/typo' is not a directory; mount it, or name a model with HF_MODEL_ID" in refusal(environ)
    assert resolved(environ | {"HF_MODEL_ID": "org/model"}).warnings == ()


@pytest.mark.parametrize("form", ["test::Python=file://{}", "test={}", "{}", "test:1.0:Python:*={},", "file://{}"])
def test_the_model_to_load_may_be_named_as_lmi_does(form: str, tmp_path: Path):
    inner = write_properties(model_at(tmp_path / "elsewhere"), "dtype=bf16")
    found = resolved({"SERVING_LOAD_MODELS": form.format(inner)})
    assert (found.options.model_id, found.options.dtype, found.warnings) == (str(inner), "bfloat16", ())


def test_the_model_to_load_may_be_on_s3_or_named_within_the_store(tmp_path: Path):
    assert option("model_id", SERVING_LOAD_MODELS="a=s3://bucket/a=b") == "s3://bucket/a=b"
    model_at(tmp_path / "one")
    model_at(tmp_path / "two")
    assert resolved({"SERVING_LOAD_MODELS": "one"}, tmp_path).options.model_id == str(tmp_path / "one")


def test_no_model_to_load_leaves_the_model_directory_alone(directory: Path):
    assert resolved({"SERVING_LOAD_MODELS": "NONE"}, directory).options.model_id is None
    found = resolved({"SERVING_LOAD_MODELS": "NONE", "HF_MODEL_ID": "org/model"}, Path("/nowhere"))
    assert (found.options.model_id, found.warnings) == ("org/model", ())


def test_the_model_directory_to_load_goes_with_the_name_of_a_model(tmp_path: Path):
    environ = {"SERVING_LOAD_MODELS": f"test::Python=file://{tmp_path}/"}
    found = resolved({**environ, "OPTION_MODEL_ID": "org/model"}, tmp_path)
    assert (found.options.model_id, found.warnings) == ("org/model", ())
    found = resolved(environ, write_properties(tmp_path, "option.model_id=org/other"))
    assert (found.options.model_id, found.warnings) == ("org/other", ())
    (tmp_path / "model").mkdir()
    write_properties(tmp_path / "model", "option.model_id=org/third")
    named = {**environ, "HF_MODEL_ID": str(tmp_path / "model")}
    assert resolved(named, tmp_path).options.model_id == "org/third"  # as without the directory to load
    (warning,) = resolved({"SERVING_LOAD_MODELS": "a=s3://bucket/a", "OPTION_MODEL_ID": "org/model"}).warnings
    assert warning.endswith("remove one of them")


@pytest.mark.parametrize(
    ("text", "environ", "size"),
    [
        ("", {"OPTION_ROLLING_BATCH": "vllm"}, 256),
        ("", {"OPTION_ROLLING_BATCH": "lmi-dist"}, 256),
        ("", {"OPTION_ROLLING_BATCH": "auto"}, None),
        ("", {"OPTION_ROLLING_BATCH": "disable"}, None),
        ("", {"OPTION_ROLLING_BATCH": "vllm", "MAX_BATCH_SIZE": "8"}, 8),
        ("rolling_batch=vllm", {"OPTION_MAX_ROLLING_BATCH_SIZE": "64"}, 64),
        ("option.rolling_batch=auto", {"OPTION_ROLLING_BATCH": "vllm"}, None),
    ],
)
def test_a_rolling_batch_that_is_named_has_the_size_of_lmi(
    text: str, environ: dict[str, str], size: int | None, tmp_path: Path
):
    found = resolved(environ, write_properties(tmp_path, text))
    assert (found.options.max_rolling_batch_size, found.warnings) == (size, ())


def test_several_models_to_load_are_refused():
    assert "names 2 models, but Lumi serves one" in refusal({"SERVING_LOAD_MODELS": "a=s3://b/a,c=s3://b/c"})


def test_the_file_in_a_named_directory_may_name_another_model(tmp_path: Path):
    (tmp_path / "settings").mkdir()
    named = write_properties(tmp_path / "settings", "option.model_id=org/model")
    found = resolved({"HF_MODEL_ID": str(named)})
    assert (found.options.model_id, found.origins["model_id"]) == ("org/model", "serving.properties line 1")
    (warning,) = found.warnings
    assert "option.model_id='org/model' (serving.properties line 1) is served; HF_MODEL_ID=" in warning
    assert warning.endswith("is where that file is")


# serving.properties on S3


def remote(text: str | None, asked: list[str]) -> Callable[[str, str], bytes | None]:
    def file(address: str, name: str) -> bytes | None:
        asked.append(f"{address} {name}")
        return None if text is None else text.encode()

    return file


def resolved_remotely(environ: dict[str, str], text: str | None, directory: Path, asked: list[str]) -> Resolved:
    return resolve(
        environ,
        engine_fields=lambda: ENGINE_FIELDS,
        model_directory=directory,
        remote_file=remote(text, asked),
    )


@pytest.mark.parametrize("variable", ["HF_MODEL_ID", "OPTION_MODEL_ID", "SERVING_LOAD_MODELS"])
def test_the_file_beside_a_model_on_s3_counts(variable: str, directory: Path):
    asked: list[str] = []
    write_properties(directory, "dtype=fp16\nseed=3")
    found = resolved_remotely(
        {variable: "s3://bucket/model", "OPTION_DTYPE": "auto"}, "option.dtype=bf16", directory, asked
    )
    assert asked == ["s3://bucket/model serving.properties"]
    assert (found.options.model_id, found.options.dtype, found.options.seed) == ("s3://bucket/model", "bfloat16", None)
    assert found.origins["dtype"] == "serving.properties line 1"
    told = "\n".join(found.warnings)
    assert f"{directory}/serving.properties is not read, because s3://bucket/model/serving.properties is beside" in told
    assert "option.dtype='bf16' (serving.properties line 1) is used and OPTION_DTYPE='auto' is not" in told


def test_the_file_on_s3_may_name_another_model():
    found = resolved_remotely({"HF_MODEL_ID": "s3://bucket/settings"}, "option.model_id=org/model", Path("/no"), [])
    assert found.options.model_id == "org/model"
    assert "HF_MODEL_ID='s3://bucket/settings' is where that file is" in found.warnings[0]


def test_a_chat_template_may_be_beside_a_model_on_s3():
    def file(_: str, name: str) -> bytes | None:
        return {"serving.properties": b"option.chat_template=./chat.jinja", "chat.jinja": b"{{ messages }}"}.get(name)

    environ = {"HF_MODEL_ID": "s3://bucket/model"}
    found = resolve(environ, engine_fields=tuple, model_directory=Path("/no"), remote_file=file)
    assert found.options.chat_template == "{{ messages }}"
    with pytest.raises(OptionError, match="looks like a path, but there is no such file"):
        resolve(environ | {"OPTION_CHAT_TEMPLATE": "no.jinja"}, engine_fields=tuple, remote_file=lambda *_: None)


def test_without_a_file_on_s3_that_of_the_model_directory_counts(directory: Path):
    write_properties(directory, "dtype=bf16")
    found = resolved_remotely({"HF_MODEL_ID": "s3://bucket/model"}, None, directory, [])
    assert found.options.dtype == "bfloat16"


def test_s3_is_asked_only_where_the_environment_names_a_model_there(directory: Path):
    asked: list[str] = []
    write_properties(directory, "option.model_id=s3://bucket/weights")
    (directory / "config.json").unlink()
    assert resolved_remotely({}, "dtype=bf16", directory, asked).options.dtype == "auto"
    resolved_remotely({"HF_MODEL_ID": "org/model"}, "dtype=bf16", directory, asked)
    assert asked == []


# config.properties of LMI's server


def test_keys_of_lmis_server_file_are_those_of_its_variables(tmp_path: Path):
    file = tmp_path / "config.properties"
    file.write_text("job_queue_size=5\nmax_request_size=1000\ninference_address=http://0.0.0.0:9000\nload_models=ALL\n")
    found = resolve(
        {"SERVING_MAX_REQUEST_SIZE": "2000"},
        engine_fields=tuple,
        model_directory=Path("/nowhere"),
        server_file=file,
    )
    options = found.options
    assert (options.job_queue_size, options.max_request_size, options.port) == (5, 2000, 9000)
    (warning,) = found.warnings
    assert warning.startswith(f"{file} is read, each key as the variable SERVING_<KEY>: SERVING_INFERENCE_ADDRESS, ")


def test_a_bad_line_of_lmis_server_file_is_named(tmp_path: Path):
    (tmp_path / "config.properties").write_text("job_queue_size\n")
    with pytest.raises(OptionError, match=r"^config.properties line 1: 'job_queue_size' has a name without a value"):
        resolve({}, engine_fields=tuple, server_file=tmp_path / "config.properties")


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
