from pathlib import Path

import pytest

from tests.option_cases import refusal, resolved, write_properties

HANDLE = "def handle(inputs): pass"


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A model directory that holds user code and no model."""
    (tmp_path / "model.py").write_text(HANDLE)
    (tmp_path / "serve.py").write_text(HANDLE)
    return tmp_path


@pytest.mark.parametrize(
    "variable", ["OPTION_ENTRY_POINT", "OPTION_entryPoint", "OPTION_ENTRYPOINT", "DJL_ENTRY_POINT"]
)
def test_every_name_of_the_entry_point_is_known(code: Path, variable: str):
    assert resolved({variable: "serve.py"}, code).options.code.file == code / "serve.py"


def test_the_file_names_the_entry_point_as_lmi_spells_it(code: Path):
    found = resolved(
        {"DJL_ENTRY_POINT": "model.py"}, write_properties(code, "option.entryPoint=serve.py\nhandler=predict")
    )
    assert (found.options.code.file, found.options.handler) == (code / "serve.py", "predict")
    (warning,) = found.warnings
    assert "option.entryPoint='serve.py'" in warning
    assert "DJL_ENTRY_POINT='model.py'" in warning


def test_model_py_is_found_by_itself_and_needs_no_model_beside_it(code: Path):
    found = resolved({}, code)
    assert (found.options.code.file, found.options.model_id, found.warnings) == (code / "model.py", None, ())


def test_code_beside_a_model_that_is_elsewhere_is_found(code: Path, directory: Path):
    assert resolved({"HF_MODEL_ID": "org/name"}, code).options.code.file == code / "model.py"
    assert resolved({"HF_MODEL_ID": "org/name"}, directory / "none").options.code is None


def test_lmis_own_entry_point_runs_the_code_beside_it(code: Path):
    environ = {"OPTION_ENTRYPOINT": "djl_python.lmi_vllm.vllm_async_service"}
    found = resolved({"HF_MODEL_ID": "org/name", **environ}, code).options.code
    assert (found.file, found.service) == (code / "model.py", environ["OPTION_ENTRYPOINT"])
    assert "contains no model" in refusal(environ, code)


def test_an_entry_point_that_is_not_there_is_a_fault_unless_the_model_in_s3_may_bring_it(code: Path):
    assert "OPTION_ENTRYPOINT='other.py' names neither" in refusal({"OPTION_ENTRYPOINT": "other.py"}, code)
    environ = {"HF_MODEL_ID": "s3://bucket/model", "OPTION_ENTRYPOINT": "other.py"}
    assert resolved(environ, code).options.entry_point == "other.py"
    environ["OPTION_ENTRYPOINT"] = "http://example.org/model.py"
    assert "code is not fetched from the network" in refusal(environ, code)


def test_options_of_the_codes_own_are_handed_to_it_with_a_warning(code: Path):
    write_properties(code, "option.myOwnThing=7\noption.model_id=org/name\ntensor_parallel_degree=2")
    found = resolved({"OPTION_OTHER_THING": "x", "HF_TOKEN": "hf_secret", "OPTION_HF_TOKEN": "hf_secret"}, code)
    assert found.options.written["myOwnThing"] == "7"
    expected = {"my_own_thing": "7", "other_thing": "x", "model_id": "org/name", "tensor_parallel_degree": "2"}
    assert {name: found.options.written[name] for name in expected} == expected
    assert "hf_secret" not in str(found.options.written)
    assert [warning for warning in found.warnings if f"It is passed to {code}/model.py" in warning] == list(
        found.warnings
    )
    assert len(found.warnings) == 2


def test_the_file_wins_over_the_environment_in_what_the_code_reads(code: Path):
    write_properties(code, "option.dtype=fp16")
    assert resolved({"OPTION_DTYPE": "bf16"}, code).options.written["dtype"] == "fp16"
    assert resolved({"HF_MODEL_TRUST_REMOTE_CODE": "true"}, code).options.written["trust_remote_code"] == "true"


def test_what_vllm_would_refuse_may_be_meant_for_the_code(code: Path, directory: Path):
    found = resolved({"HF_TASK": "text-embedding"}, code)
    assert all("is passed to" in warning for warning in found.warnings)
    assert found.options.written["task"] == "text-embedding"
    (code / "model.py").unlink()
    assert "refused" in refusal({"OPTION_TASK": "text-embedding"}, code)


def test_without_code_an_unknown_option_has_no_effect(directory: Path):
    (warning,) = resolved({"OPTION_MY_OWN_THING": "7"}, directory).warnings
    assert "is not an option and has no effect" in warning
