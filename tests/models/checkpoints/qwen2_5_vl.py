"""As Qwen/Qwen2.5-VL-3B-Instruct: windows of attention in the vision tower."""

from pathlib import Path

from tests.models.checkpoints import qwen, qwen2_vl
from tests.models.checkpoints.files import CLIP_MEAN, CLIP_STD, write_json
from tests.models.checkpoints.weights import write_weights

VISION = {
    "depth": 2,
    "fullatt_block_indexes": [1],
    "hidden_act": "silu",
    "hidden_size": 64,
    "in_chans": 3,
    "intermediate_size": 160,
    "num_heads": 2,
    "out_hidden_size": 64,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "spatial_patch_size": 14,
    "temporal_patch_size": 2,
    "tokens_per_second": 2,
    "window_size": 56,
}


def build(directory: Path) -> None:
    ids = qwen.write_qwen_tokenizer(directory, qwen.TEMPLATE_WITH_SYSTEM)
    write_json(
        directory,
        config={
            "architectures": ["Qwen2_5_VLForConditionalGeneration"],
            "model_type": "qwen2_5_vl",
            "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
            **qwen.token_ids(ids),
            "vision_token_id": ids["<|vision_pad|>"],
            **qwen.LANGUAGE_MODEL,
            "max_window_layers": 2,
            "sliding_window": 32768,
            "use_sliding_window": False,
            "tie_word_embeddings": True,
            "torch_dtype": "bfloat16",
            "vision_config": VISION,
            "rope_scaling": {"type": "mrope", "mrope_section": [4, 6, 6]},
            "vocab_size": len(ids) + 30,
        },
        preprocessor_config={
            **qwen.PIXELS,
            "patch_size": 14,
            "temporal_patch_size": 2,
            "merge_size": 2,
            "image_mean": CLIP_MEAN,
            "image_std": CLIP_STD,
            "image_processor_type": "Qwen2VLImageProcessor",
            "processor_class": "Qwen2_5_VLProcessor",
        },
        chat_template={"chat_template": qwen.TEMPLATE_WITH_SYSTEM},
        generation_config=qwen.generation(ids),
    )
    write_weights(directory, qwen2_vl.NAMES)
