import pytest

from handler.checkpoint.divisible_sizes import DivisibleSizes, divisible_sizes
from handler.engines.vllm.degrees import tensor_parallel_size
from handler.errors import OptionError


@pytest.mark.parametrize(
    ("arguments", "gpus", "degree"),
    [
        ({}, 0, 1),
        ({}, 4, 4),
        ({"pipeline_parallel_size": 2}, 8, 4),
        ({"data_parallel_size": 2}, 8, 4),
        ({"data_parallel_size": 2, "pipeline_parallel_size": 2}, 4, 1),
        ({"nnodes": 2}, 8, 16),
        ({"nnodes": 2, "pipeline_parallel_size": 2}, 8, 8),
        ({"nnodes": 2, "data_parallel_size": 2}, 8, 8),
        ({"nnodes": 2, "data_parallel_size": 4}, 0, 1),
        ({"tensor_parallel_size": 2}, 4, 2),
        ({"tensor_parallel_size": 2}, 0, 2),
    ],
)
def test_all_gpus_are_shared_among_the_degrees_unless_one_is_set(arguments, gpus, degree):
    assert tensor_parallel_size(arguments, gpus) == degree


QWEN = DivisibleSizes(28, key_heads=4, others=(18944, 152064, 16))
QWEN_2B = DivisibleSizes(12, key_heads=2, others=(8960, 151936, 16))
SMOL = DivisibleSizes(15, key_heads=5, others=(2560, 49344, 12))


@pytest.mark.parametrize(
    ("arguments", "gpus", "heads", "degree"),
    [
        ({}, 8, QWEN, 4),
        ({}, 4, QWEN, 4),
        ({}, 8, DivisibleSizes(32, key_heads=8), 8),
        ({}, 8, QWEN_2B, 4),
        ({}, 8, SMOL, 1),
        ({"pipeline_parallel_size": 2}, 8, QWEN, 4),
        ({"nnodes": 2}, 8, QWEN, 4),
        ({"nnodes": 2, "pipeline_parallel_size": 2}, 8, DivisibleSizes(25), 5),
        ({"tensor_parallel_size": 8}, 8, QWEN, 8),  # vLLM refuses it
    ],
)
def test_no_more_gpus_share_a_layer_than_its_heads_can_be_divided_by(arguments, gpus, heads, degree):
    assert tensor_parallel_size(arguments, gpus, heads) == degree


def test_gpus_that_stay_idle_are_named_in_the_log(caplog):
    assert tensor_parallel_size({}, 8, QWEN) == 4
    assert "4 of 8 GPUs: the model has 28 attention heads, 4 of keys and values" in caplog.text


def test_the_sizes_are_those_of_the_language_part_and_of_the_vision_tower():
    text = {
        "model_type": "qwen2",
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "num_hidden_layers": 2,
        "hidden_size": 56,
        "intermediate_size": 18944,
        "vocab_size": 152060,
    }
    vision = {"model_type": "qwen2_5_vl", "num_heads": 16}
    config = {"model_type": "qwen2_5_vl", "text_config": text, "vision_config": vision}
    assert divisible_sizes(config) == QWEN
    padded = {**config, "vision_config": {"model_type": "intern_vit_6b", "num_attention_heads": 25}}
    assert divisible_sizes(padded).others == (18944, 152064)
    assert divisible_sizes({"model_type": "of nobody"}) is None


@pytest.mark.parametrize(
    ("arguments", "gpus", "words"),
    [
        (
            {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
            4,
            "OPTION_TENSOR_PARALLEL_DEGREE=4 x OPTION_PIPELINE_PARALLEL_DEGREE=2 needs 8 GPUs and this machine has 4.",
        ),
        ({"data_parallel_size": 3}, 2, "OPTION_DATA_PARALLEL_SIZE=3 needs 3 GPUs and this machine has 2."),
        ({"tensor_parallel_size": 2}, 1, "OPTION_TENSOR_PARALLEL_DEGREE=2 needs 2 GPUs and this machine has 1."),
        (
            {"tensor_parallel_size": 8, "nnodes": 2},
            2,
            "OPTION_TENSOR_PARALLEL_DEGREE=8 needs 8 GPUs and 2 nodes with 2 GPUs each have 4.",
        ),
        (
            {"tensor_parallel_size": 3, "nnodes": 2},
            4,
            "needs 3 GPUs, which 2 nodes (OPTION_NNODES) cannot share evenly",
        ),
        (
            {"tensor_parallel_size": 3, "nnodes": 2},
            0,
            "OPTION_TENSOR_PARALLEL_DEGREE=3 needs 3 workers, which 2 nodes (OPTION_NNODES) cannot share evenly",
        ),
        ({"nnodes": 2}, 0, "An engine without degrees needs 1 worker, which 2 nodes"),
        (
            {"data_parallel_size": 3, "tensor_parallel_size": 2, "nnodes": 2},
            6,
            (
                "OPTION_DATA_PARALLEL_SIZE=3 is 3 / 2 = 1.5 replicas for each of 2 nodes (OPTION_NNODES), and a replica cannot "
                "be divided; choose a multiple of 2."
            ),
        ),
    ],
)
def test_degrees_that_do_not_fit_are_refused_with_the_arithmetic(arguments, gpus, words):
    with pytest.raises(OptionError) as refusal:
        tensor_parallel_size(arguments, gpus)
    assert words in str(refusal.value)


def test_what_another_launcher_places_is_not_counted():
    arguments = {"tensor_parallel_size": 16, "distributed_executor_backend": "ray"}
    assert tensor_parallel_size(arguments, 1) == 16
