"""As deepseek-community/deepseek-vl-7b-chat: SAM reads a larger copy of the image beside SigLIP."""

from pathlib import Path

from tests.models.checkpoints.deepseek_vl import write_checkpoint
from tests.models.checkpoints.files import CLIP_MEAN, CLIP_STD

HIGH = 128
SAM = {
    "global_attn_indexes": [1],
    "hidden_size": 64,
    "image_size": HIGH,
    "mlp_dim": 128,
    "model_type": "sam_vision_model",
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "output_channels": 32,
    "patch_size": 16,
    "window_size": 4,
}


def build(directory: Path) -> None:
    steps = {
        "high_res_image_mean": CLIP_MEAN,
        "high_res_image_std": CLIP_STD,
        "high_res_resample": 3,
        "high_res_size": {"height": HIGH, "width": HIGH},
    }
    config = {"high_res_vision_config": SAM}
    write_checkpoint(directory, "DeepseekVLHybrid", "deepseek_vl_hybrid", config, steps)
