"""KV cache, context and image tokens from configurations. tests/test_vllm_contract.py has vLLM's own numbers for them."""

import json

import pytest

from handler.checkpoint.files import DirectoryFiles
from handler.checkpoint.image_tokens import image_tokens
from handler.checkpoint.memory import context_length, kv_cache
from tests.checkpoints import GEMMA, LLAVA, QWEN

LATENT = {"kv_lora_rank": 512, "qk_rope_head_dim": 64, "num_hidden_layers": 30, "num_attention_heads": 32}


@pytest.mark.parametrize(
    ("config", "full", "window", "shards"),
    [
        (LLAVA, 2 * 32 * 128 * 2 * 32, 0, 32),
        (QWEN, 2 * 4 * 128 * 2 * 28, 0, 4),
        (GEMMA, 2 * 4 * 256 * 2 * 5, 2 * 4 * 256 * 2 * 29, 4),
        (LATENT, 576 * 2 * 30, 0, 1),
        ({**QWEN, "layer_types": ["linear_attention"] * 21 + ["full_attention"] * 7}, 2 * 4 * 128 * 2 * 7, 0, 4),
    ],
    ids=["every head", "grouped heads", "sliding layers", "latent", "linear layers"],
)
def test_the_cache_of_a_token(config, full, window, shards):
    cache = kv_cache(config, 2)
    assert (cache.full_bytes, cache.window_bytes, cache.shards) == (full, window, shards)


def test_a_window_bounds_what_a_long_request_takes():
    cache = kv_cache(GEMMA, 2)
    assert cache.bytes_of(10_000) == cache.full_bytes * 10_000 + cache.window_bytes * 1024


def test_a_configuration_that_says_too_little_has_no_estimate():
    assert kv_cache({"model_type": "zoo"}, 2) is None
    assert context_length({"model_type": "zoo"}, {}) is None


@pytest.mark.parametrize(
    ("config", "tokenizer", "tokens"),
    [
        (LLAVA, {"model_max_length": 10**30}, 4096),
        (LLAVA, {"model_max_length": 2048}, 2048),
        ({"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": 4.0}}, {}, 16384),
        ({"max_position_embeddings": 4096, "rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, {}, 4096),
        ({"max_position_embeddings": 131072, "original_max_position_embeddings": 4096,
          "rope_scaling": {"type": "longrope"}}, {}, 4096),
        (GEMMA, {}, 131072),
    ],
)  # fmt: skip
def test_the_context(config, tokenizer, tokens):
    assert context_length(config, tokenizer) == tokens


@pytest.mark.parametrize(
    ("config", "processor", "pixels", "tokens"),
    [
        (LLAVA, {}, 10**8, 576),
        ({**LLAVA, "vision_feature_select_strategy": "full"}, {}, 10**8, 577),
        ({**LLAVA, "model_type": "llava_next", "image_grid_pinpoints": [[336, 672], [672, 672]]}, {}, 10**8, 2928),
        (QWEN, {}, 10**8, 16384),
        (QWEN, {"max_pixels": 784 * 1280}, 10**8, 1280),
        (QWEN, {}, 784 * 100, 100),
        (GEMMA, {}, 10**8, 256),
        ({"model_type": "internvl_chat", "downsample_ratio": 0.5, "max_dynamic_patch": 12,
          "vision_config": {"image_size": 448, "patch_size": 14}}, {}, 10**8, 256 * 13),
        ({**LLAVA, "vision_config": {"model_type": "pixtral", "image_size": 1024, "patch_size": 16}}, {}, 10**8, 4160),
        ({**LLAVA, "model_type": "zoo"}, {}, 10**8, None),
    ],
)  # fmt: skip
def test_the_tokens_of_the_largest_image(tmp_path, config, processor, pixels, tokens):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    assert image_tokens(DirectoryFiles(tmp_path), config, pixels) == tokens
