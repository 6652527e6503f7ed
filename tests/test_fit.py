"""Which instance types a model fits, with what has to change for those that it does not."""

from dataclasses import replace

import pytest

from container.inspection.fit import Demand, fit
from container.inspection.instances import GIB, INSTANCES, find_instance
from handler.checkpoint.divisible_sizes import DivisibleSizes
from handler.checkpoint.memory import KvCache
from handler.errors import StartError

# LLaVA 1.5 7B in 16 bits.
SEVEN = Demand(
    language_bytes=int(13.5e9),
    other_bytes=int(0.65e9),
    working_bytes=int(0.8e9),
    kv=KvCache(524288, 0, 0, 32),
    max_tokens=4096,
    tensor_parallel=None,
    sizes=DivisibleSizes(32, key_heads=32),
    utilisation=0.92,
    is_quantised=False,
)


def cures(demand, name):
    return " / ".join(fit(demand, find_instance(name)).cures)


def test_a_7b_model_fits_a_gpu_of_24_gb_and_not_one_of_16():
    assert fit(SEVEN, find_instance("ml.g5.2xlarge")).fits
    assert "OPTION_QUANTIZE=fp8" in cures(SEVEN, "ml.g4dn.xlarge")
    assert "a type with more memory" in cures(SEVEN, "ml.g4dn.xlarge")


def test_the_degree_divides_weights_and_cache():
    one, four = (fit(SEVEN, find_instance(name)) for name in ("g5.2xlarge", "g5.12xlarge"))
    assert (one.degree, four.degree) == (1, 4)
    assert four.weight_bytes < one.weight_bytes / 2
    assert four.request_bytes == one.request_bytes // 4
    assert four.concurrency > 4 * one.concurrency


def test_latent_attention_is_not_divided():
    latent = replace(SEVEN, kv=KvCache(34560, 0, 0, 1))
    assert fit(latent, find_instance("g5.12xlarge")).request_bytes == 34560 * 4096


def test_a_higher_degree_is_proposed_where_it_suffices():
    large = replace(SEVEN, language_bytes=int(120e9), tensor_parallel=1)
    assert "OPTION_TENSOR_PARALLEL_DEGREE=4" in cures(large, "g6e.12xlarge")
    assert fit(replace(large, tensor_parallel=4), find_instance("g6e.12xlarge")).fits


def test_a_shorter_maximum_is_proposed_where_only_the_cache_is_too_small():
    long = replace(SEVEN, max_tokens=32768)
    proposed = cures(long, "g5.2xlarge")
    assert "OPTION_MAX_MODEL_LEN=4096" in proposed
    assert fit(replace(long, max_tokens=4096), find_instance("g5.2xlarge")).fits


def test_a_degree_that_the_machine_or_the_heads_do_not_allow_is_refused():
    assert "it has 1" in cures(replace(SEVEN, tensor_parallel=2), "g5.2xlarge")
    qwen = replace(
        SEVEN, sizes=DivisibleSizes(28, key_heads=4), kv=replace(SEVEN.kv, shards=4)
    )  # vLLM cannot give 4 heads of keys to 7 GPUs
    assert (
        "OPTION_TENSOR_PARALLEL_DEGREE=4: the model's attention heads or other sizes cannot be divided by 8"
        in cures(replace(qwen, tensor_parallel=8), "g5.48xlarge")
    )
    assert not cures(qwen, "g5.48xlarge")  # max takes four of the eight


def test_quantised_weights_are_not_to_be_quantised_again():
    assert "QUANTIZE" not in cures(replace(SEVEN, language_bytes=int(70e9), is_quantised=True), "g5.2xlarge")


def test_the_table_is_in_order_and_names_are_unique():
    sizes = [each.gpus * each.gpu_bytes for each in INSTANCES]
    assert sizes == sorted(sizes)
    assert len({each.name for each in INSTANCES}) == len(INSTANCES)
    assert find_instance("g5.12xlarge") == find_instance("ml.g5.12xlarge")
    assert (find_instance("p5.48xlarge").gpus, find_instance("p5.48xlarge").gpu_bytes) == (8, 80 * GIB)


def test_an_unknown_type_names_those_of_its_family():
    with pytest.raises(StartError, match=r"'ml.g5.3xlarge' is not a type .* there is ml.g5.xlarge, ml.g5.2xlarge"):
        find_instance("ml.g5.3xlarge")
