"""As Qwen/Qwen2-VL-2B-Instruct: images of any size, positions of three axes, tied embeddings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.models.checkpoints import qwen
from tests.models.checkpoints.files import CLIP_MEAN, CLIP_STD, write_json
from tests.models.checkpoints.weights import write_weights

VISION = {
    "depth": 2,
    "embed_dim": 64,
    "hidden_size": 64,
    "in_chans": 3,
    "mlp_ratio": 4,
    "num_heads": 2,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "spatial_patch_size": 14,
    "temporal_patch_size": 2,
}
NAMES = {r"model\.language_model\.": "model.", r"model\.visual\.": "visual."}


def build(directory: Path) -> None:
    write(directory, "qwen2_vl", "Qwen2VL", VISION)


def write(directory: Path, model_type: str, name: str, vision: Mapping[str, Any]) -> None:
    """A checkpoint of Qwen2-VL, or of its successor with another tower. `name` begins the names of its classes."""
    ids = qwen.write_qwen_tokenizer(directory, qwen.TEMPLATE_WITH_SYSTEM)
    write_json(
        directory,
        config={
            "architectures": [f"{name}ForConditionalGeneration"],
            "model_type": model_type,
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
            "vision_config": vision,
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
            "processor_class": f"{name}Processor",
        },
        chat_template={"chat_template": qwen.TEMPLATE_WITH_SYSTEM},
        generation_config=qwen.generation(ids),
    )
    write_weights(directory, NAMES)
