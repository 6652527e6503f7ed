"""As Qwen/Qwen2.5-VL-3B-Instruct: windows of attention in the vision tower."""

from pathlib import Path

from tests.models.checkpoints import qwen2_vl

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
    qwen2_vl.write(directory, "qwen2_5_vl", "Qwen2_5_VL", VISION)
