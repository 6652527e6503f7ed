"""As Qwen/Qwen3-VL-4B-Instruct: features of several layers of the tower enter several layers of the language model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.models.checkpoints import qwen
from tests.models.checkpoints.files import HALF, write_json
from tests.models.checkpoints.weights import write_weights

VISION = {
    "deepstack_visual_indexes": [0, 1],
    "depth": 3,
    "hidden_act": "gelu_pytorch_tanh",
    "hidden_size": 64,
    "in_channels": 3,
    "initializer_range": 0.02,
    "intermediate_size": 160,
    "num_heads": 2,
    "num_position_embeddings": 256,
    "out_hidden_size": 64,
    "patch_size": 16,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}
TEXT = {
    **qwen.LANGUAGE_MODEL,
    "attention_bias": False,
    "head_dim": 32,
    "num_hidden_layers": 3,
    "rope_scaling": {"mrope_interleaved": True, "mrope_section": [6, 5, 5], "rope_type": "default"},
    "rope_theta": 5000000,
}


def build(directory: Path) -> None:
    write_files(directory, "Qwen3VLForConditionalGeneration", "qwen3_vl", {"tie_word_embeddings": True})
    write_weights(directory, {})


def write_files(directory: Path, architecture: str, model_type: str, text: Mapping[str, Any]) -> None:
    """All but the weights. `text` is what the language model has beside TEXT."""
    ids = qwen.write_qwen_tokenizer(directory, qwen.TEMPLATE)
    ends = {"bos_token_id": ids["<|endoftext|>"], "eos_token_id": ids["<|im_end|>"]}
    pixels = {"shortest_edge": 4096, "longest_edge": 131072}  # the hub's: 65536 and 16777216
    processor = {
        "size": pixels,
        "patch_size": 16,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": HALF,
        "image_std": HALF,
        "processor_class": "Qwen3VLProcessor",
    }
    write_json(
        directory,
        config={
            "architectures": [architecture],
            "model_type": model_type,
            **qwen.token_ids(ids),
            "text_config": {
                "model_type": f"{model_type}_text",
                "dtype": "bfloat16",
                "vocab_size": len(ids) + 30,
                **ends,
                **TEXT,
                **text,
            },
            "tie_word_embeddings": text["tie_word_embeddings"],
            "vision_config": {"model_type": model_type, **VISION},
        },
        preprocessor_config={**processor, "image_processor_type": "Qwen2VLImageProcessorFast"},
        video_preprocessor_config={**processor, "video_processor_type": "Qwen3VLVideoProcessor"},
        chat_template={"chat_template": qwen.TEMPLATE},
        generation_config=qwen.generation(ids),
    )
