import pytest

from container.model_store import locate
from container.options import resolve
from container.start.settings import needs
from handler.engines.vllm import field_names

MIB = 2**20


def wanted(directory, *, gpus=0, cuda=None, **environ):
    options = resolve({"HF_MODEL_ID": str(directory), **environ}, engine_fields=field_names).options
    return needs(options, locate(options.model_id), gpus=gpus, cuda=cuda)


@pytest.fixture
def model(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(bytes(3 * MIB))
    return tmp_path


@pytest.mark.parametrize(
    ("size", "of_the_cache"),
    [("1024", 1024), ("1k", 1000), ("1K", 1024), ("1.5g", 1_500_000_000), ("2G", 2**31)],
)
def test_memory_is_the_weights_and_the_cache_in_all_forms_that_vllm_reads(model, size, of_the_cache):
    assert wanted(model, OPTION_KV_CACHE_MEMORY_BYTES=size).memory == 3 * MIB + of_the_cache


def test_max_is_all_gpus_and_one_process_on_a_cpu(model):
    assert wanted(model, gpus=4, cuda=13).processes == 4
    assert wanted(model, gpus=4).processes == 1
    assert wanted(model, gpus=4, cuda=13, OPTION_PIPELINE_PARALLEL_DEGREE="2").processes == 8


def test_what_is_compiled_needs_a_place_to_run_from(model):
    assert wanted(model).compiles
    assert wanted(model, cuda=13, OPTION_ENFORCE_EAGER="true").compiles
    assert not wanted(model, OPTION_ENFORCE_EAGER="true").compiles
