"""Files of LoRA adapters for tests: small valid ones, with what a test wants to be wrong."""

import json
import struct
from pathlib import Path
from typing import Any

LAYER = "base_model.model.model.language_model.layers.0.self_attn.q_proj"
CONFIG = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "bias": "none", "target_modules": ["q_proj"]}
SHAPES = {f"{LAYER}.lora_A.weight": (4, 16), f"{LAYER}.lora_B.weight": (16, 4)}


def write_adapter(directory: Path, shapes: dict[str, tuple[int, ...]] | None = None, **config: Any) -> Path:
    """Write an adapter of zeros to `directory` and return it."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "adapter_config.json").write_text(json.dumps({**CONFIG, **config}))
    (directory / "adapter_model.safetensors").write_bytes(tensors(SHAPES if shapes is None else shapes))
    return directory


def tensors(shapes: dict[str, tuple[int, ...]], dtype: str = "F16") -> bytes:
    """A safetensors file."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        size = 2
        for side in shape:
            size *= side
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(end)
