"""Checkpoints whose headers are real and whose weights are zeros."""

import json
import struct
from pathlib import Path

SIZES = {"F32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1, "U8": 1, "I32": 4}
CONFIG = {
    "architectures": ["LlavaForConditionalGeneration"],
    "model_type": "llava",
    "image_token_index": 5,
    "text_config": {"model_type": "llama", "hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2},
    "vision_config": {"model_type": "clip_vision_model", "hidden_size": 4, "image_size": 28, "patch_size": 14},
}
TOKENIZER = {"model": {"vocab": {"a": 0, "b": 1}}, "added_tokens": [{"id": 5, "content": "<image>"}]}
LAYER = ("q", "k", "v", "o", "up", "down")
TENSORS = {
    "language_model.model.embed_tokens.weight": ("BF16", (16, 8)),
    **{f"language_model.model.layers.{n}.{name}.weight": ("BF16", (8, 8)) for n in range(3) for name in LAYER},
    "language_model.lm_head.weight": ("BF16", (16, 8)),
    "vision_tower.vision_model.embeddings.patch_embedding.weight": ("BF16", (4, 3, 14, 14)),
    "multi_modal_projector.linear_1.weight": ("BF16", (8, 4)),
}

# The configurations of LLaVA 1.5 7B, Gemma 3 4B and Qwen2.5-VL 7B, as far as they matter for memory.
CLIP = {
    "model_type": "clip_vision_model",
    "hidden_size": 1024,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
}
LLAVA = {  # as on the hub: what is Llama's default is left out
    "model_type": "llava",
    "text_config": {"model_type": "llama", "max_position_embeddings": 4096, "vocab_size": 32064},
    "vision_config": CLIP,
}
GEMMA = {
    "model_type": "gemma3",
    "mm_tokens_per_image": 256,
    "text_config": {
        "model_type": "gemma3_text",
        "num_hidden_layers": 34,
        "sliding_window": 1024,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    },
    "vision_config": {"model_type": "siglip_vision_model", "image_size": 896, "patch_size": 14},
}
QWEN = {
    "model_type": "qwen2_5_vl",
    "hidden_size": 3584,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "max_position_embeddings": 128000,
    "sliding_window": 32768,
    "use_sliding_window": False,
    "vision_config": {"patch_size": 14, "spatial_merge_size": 2},
}


def safetensors(tensors=None, cut=0, *, body=True):
    """The bytes of a file with these tensors, without the last `cut`; or of its header alone."""
    header, end = {}, 0
    for name, (dtype, shape) in (TENSORS if tensors is None else tensors).items():
        size = SIZES[dtype]
        for length in shape:
            size *= length
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    content = struct.pack("<Q", len(text)) + text + (bytes(end) if body else b"")
    return content[: len(content) - cut]


def without(*names):
    return {name: tensor for name, tensor in TENSORS.items() if name not in names}


def write_checkpoint(directory, config=CONFIG, tensors=None, tokenizer=TOKENIZER, **files):
    """A small LLaVA, or what differs from one; `files` have bytes or JSON. The directory."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    written = {"config.json": config, "tokenizer.json": tokenizer, "model.safetensors": safetensors(tensors), **files}
    for name, content in written.items():
        if content is not None:
            (directory / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return directory
