import pytest

from handler.checkpoint.attention_heads import AttentionHeads, attention_heads
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


QWEN = AttentionHeads(28, of_keys=4)


@pytest.mark.parametrize(
    ("arguments", "gpus", "heads", "degree"),
    [
        ({}, 8, QWEN, 4),
        ({}, 4, QWEN, 4),
        ({}, 8, AttentionHeads(32, of_keys=8), 8),
        ({}, 8, AttentionHeads(12, of_keys=2), 6),
        ({"pipeline_parallel_size": 2}, 8, QWEN, 4),
        ({"nnodes": 2}, 8, QWEN, 4),
        ({"nnodes": 2, "pipeline_parallel_size": 2}, 8, AttentionHeads(25), 5),
        ({"tensor_parallel_size": 8}, 8, QWEN, 8),  # vLLM refuses it
    ],
)
def test_no_more_gpus_share_a_layer_than_its_heads_can_be_divided_by(arguments, gpus, heads, degree):
    assert tensor_parallel_size(arguments, gpus, heads) == degree


def test_gpus_that_stay_idle_are_named_in_the_log(caplog):
    assert tensor_parallel_size({}, 8, QWEN) == 4
    assert "4 of 8 GPUs: the model has 28 attention heads, 4 of keys and values" in caplog.text


def test_the_heads_are_those_of_the_language_part():
    text = {
        "model_type": "qwen2",
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "num_hidden_layers": 2,
        "hidden_size": 56,
    }
    assert attention_heads({"model_type": "qwen2_5_vl", "text_config": text}) == QWEN
    assert attention_heads({"model_type": "of nobody"}) is None


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
