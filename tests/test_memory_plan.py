from dataclasses import replace

import pytest

from container.model_store import locate
from container.start.machine import GIB, MIB, Needs, inspect
from container.start.memory_plan import image_cache_gib, queue_size
from container.start.vllm_settings import vllm_settings
from handler.engine import ModelCard
from tests.serving import options_of

CPU, GPU = Needs(cuda=None, memory=3 * GIB), Needs(cuda=13, memory=60 * GIB)


def cache(memory, needs=CPU, **environ):
    with options_of(**environ) as options:
        return image_cache_gib(options, replace(inspect(), memory=memory), needs)


def queue(memory=None, concurrency=None, batch=32, **environ):
    card = ModelCard(("mine",), 4096, supports_images=True, concurrency=concurrency, batch_size=batch)
    with options_of(**environ) as options:
        return queue_size(options, card, memory)


@pytest.mark.parametrize(
    ("memory", "needs", "size"),
    [
        (8 * GIB, CPU, 1.0),  # half of what is left beside 3 of weights, 2 of processes and 1 of the front end
        (8 * GIB, GPU, 2.5),  # the weights are on the GPU
        (64 * GIB, CPU, None),  # vLLM's own four fit
        (2 * GIB, CPU, 0.25),
        (None, CPU, None),
    ],
)
def test_processed_images_get_half_of_what_is_left_at_most(memory, needs, size):
    assert cache(memory, needs) == size


def test_replicas_have_a_cache_each():
    assert cache(8 * GIB, OPTION_DATA_PARALLEL_SIZE="2") == 0.5


def test_the_images_of_sessions_are_counted():
    assert cache(8 * GIB, OPTION_ENABLE_STATEFUL_SESSIONS="true") == 0.5


def test_the_size_that_an_operator_sets_stays():
    assert cache(8 * GIB, OPTION_MM_PROCESSOR_CACHE_GB="3") is None


def test_the_size_is_an_argument_of_vllm():
    with options_of() as options:
        model = locate(options.model_id)
        assert vllm_settings(options, model, 0.5).arguments["mm_processor_cache_gb"] == 0.5
        assert "mm_processor_cache_gb" not in vllm_settings(options, model).arguments


@pytest.mark.parametrize(
    ("memory", "concurrency", "size"),
    [
        (None, None, 512),  # sixteen for each place of a batch of 32
        (None, 100, 512),
        (None, 2, 128),  # eight requests of a quarter of the context run at once
        (None, 0.1, 64),  # two batches in any case
        (4 * GIB, None, 192),
        (100 * MIB, None, 64),
    ],
)
def test_the_queue_is_what_kv_cache_and_memory_can_serve(memory, concurrency, size):
    assert queue(memory, concurrency) == size


def test_the_queue_is_no_longer_than_lmis_whatever_the_batch():
    assert queue(batch=256) == 1000


def test_a_large_batch_asks_for_no_more_memory_than_there_is():
    assert queue(4 * GIB, batch=1024) == 192


def test_a_queue_that_is_set_stays():
    assert queue(MIB, 0.1, OPTION_JOB_QUEUE_SIZE="7") == 7
