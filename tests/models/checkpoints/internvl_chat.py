"""As OpenGVLab/InternVL3-1B: the remote form, whose config is code of the repository. transformers has the model as another
form, `InternVLForConditionalGeneration`: that, with the same weights, is the reference."""

import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests.models.checkpoints.files import IMAGENET_MEAN, IMAGENET_STD, image_steps, write_json
from tests.models.checkpoints.qwen import generation, write_qwen_tokenizer
from tests.models.checkpoints.weights import write_weights

SIDE, PATCH = 56, 14
TOKENS = (SIDE // PATCH // 2) ** 2  # of a tile
VISION: dict[str, Any] = {
    "hidden_act": "gelu",
    "hidden_size": 64,
    "intermediate_size": 128,
    "layer_norm_eps": 1e-06,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
}
TEXT: dict[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"],
    "hidden_act": "silu",
    "hidden_size": 64,
    "intermediate_size": 160,
    "max_position_embeddings": 32768,
    "max_window_layers": 2,
    "model_type": "qwen2",
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "num_key_value_heads": 1,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
}
TILES = {"max": 12, "min": 1}
NAMED = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}
ADDED = ("<img>", "</img>", "<IMG_CONTEXT>", "<quad>", "</quad>", "<ref>", "</ref>", "<box>", "</box>")
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "%s{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# The hub's takes strings. vLLM puts each part on a line of its own, as the authors' examples do; the reference does it here.
STRING = TEMPLATE.replace("%s", "{{ message['content'] }}")
PARTS = TEMPLATE.replace(
    "%s",
    "{% for part in message['content'] %}{% if not loop.first %}{{ '\n' }}{% endif %}"
    "{{ part['text'] if part['type'] == 'text' else '<IMG_CONTEXT>' }}{% endfor %}",
)
# The repository's configuration code builds its own classes, so that every one of the nested values is a config.
CODE = """
from transformers import PretrainedConfig, Qwen2Config


class InternVLChatConfig(PretrainedConfig):
    model_type = "internvl_chat"

    def __init__(self, vision_config=None, llm_config=None, **kwargs):
        self.vision_config = PretrainedConfig(**(vision_config or {}))
        self.llm_config = Qwen2Config(**(llm_config or {}))
        super().__init__(**kwargs)

    def get_text_config(self, decoder=None, encoder=None):
        return self.llm_config
"""
# transformers' names -> the hub's
NAMES = {
    r"model\.language_model\.": "language_model.model.",
    r"lm_head\.": "language_model.lm_head.",
    r"model\.multi_modal_projector\.layer_norm\.": "mlp1.0.",
    r"model\.multi_modal_projector\.linear_1\.": "mlp1.1.",
    r"model\.multi_modal_projector\.linear_2\.": "mlp1.3.",
    r"model\.vision_tower\.embeddings\.cls_token": "vision_model.embeddings.class_embedding",
    r"model\.vision_tower\.embeddings\.position_embeddings": "vision_model.embeddings.position_embedding",
    r"model\.vision_tower\.embeddings\.patch_embeddings\.projection": "vision_model.embeddings.patch_embedding",
    r"model\.vision_tower\.encoder\.layer\.": "vision_model.encoder.layers.",
}
LAYER_NAMES = {
    ".attention.projection_layer.": ".attn.proj.",
    ".layernorm_before.": ".norm1.",
    ".layernorm_after.": ".norm2.",
    ".lambda_1": ".ls1",
    ".lambda_2": ".ls2",
}


def build(directory: Path) -> None:
    ids = write_qwen_tokenizer(directory, STRING, *ADDED)
    text = {**TEXT, "vocab_size": len(ids)}
    _build_reference(reference(directory))
    write_json(
        directory,
        config={
            "architectures": ["InternVLChatModel"],
            "auto_map": {"AutoConfig": "configuration_internvl_chat.InternVLChatConfig"},
            "downsample_ratio": 0.5,
            "dynamic_image_size": True,
            "force_image_size": SIDE,
            "llm_config": text,
            "max_dynamic_patch": TILES["max"],
            "min_dynamic_patch": TILES["min"],
            "model_type": "internvl_chat",
            "ps_version": "v2",
            "select_layer": -1,
            "template": "internvl2_5",
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            "use_thumbnail": True,
            "vision_config": {
                **VISION,
                "architectures": ["InternVisionModel"],
                "image_size": SIDE,
                "initializer_factor": 1.0,
                "model_type": "intern_vit_6b",
                "norm_type": "layer_norm",
                "num_channels": 3,
                "patch_size": PATCH,
                "qk_normalization": False,
                "qkv_bias": True,
            },
        },
        preprocessor_config=image_steps(
            IMAGENET_MEAN,
            IMAGENET_STD,
            crop_size=SIDE,
            do_center_crop=True,
            feature_extractor_type="CLIPFeatureExtractor",
            size=SIDE,
        ),
        generation_config=generation(ids),
    )
    (directory / "configuration_internvl_chat.py").write_text(CODE)
    save_file(
        _hub(load_file(reference(directory) / "model.safetensors")),
        directory / "model.safetensors",
        metadata={"format": "pt"},
    )


def reference(directory: Path) -> Path:
    """Where `build` writes the form that transformers has."""
    return directory.with_name(f"{directory.name}-reference")


def _build_reference(directory: Path) -> None:
    directory.mkdir(exist_ok=True)
    ids = write_qwen_tokenizer(directory, PARTS, *ADDED)
    settings = directory / "tokenizer_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "extra_special_tokens": NAMED}))
    write_json(
        directory,
        config={
            "architectures": ["InternVLForConditionalGeneration"],
            "downsample_ratio": 0.5,
            "image_seq_length": TOKENS,
            "image_token_id": ids["<IMG_CONTEXT>"],
            "model_type": "internvl",
            "text_config": {**TEXT, "vocab_size": len(ids)},
            "tie_word_embeddings": False,
            "vision_config": {
                **VISION,
                "attention_bias": True,
                "image_size": [SIDE, SIDE],
                "model_type": "internvl_vision",
                "patch_size": [PATCH, PATCH],
                "use_mean_pooling": True,
            },
        },
        preprocessor_config=image_steps(
            IMAGENET_MEAN,
            IMAGENET_STD,
            crop_to_patches=True,
            do_convert_rgb=True,
            image_processor_type="GotOcr2ImageProcessorFast",
            max_patches=TILES["max"],
            min_patches=TILES["min"],
            processor_class="InternVLProcessor",
            size={"height": SIDE, "width": SIDE},
        ),
        processor_config={"image_seq_length": TOKENS, "processor_class": "InternVLProcessor"},
        generation_config=generation(ids),
    )
    (directory / "chat_template.jinja").write_text(PARTS)
    write_weights(directory, {})


def _hub(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors under the hub's names, with the projections of an attention in one."""
    named: dict[str, torch.Tensor] = {}
    projections: dict[str, list[torch.Tensor]] = {}
    for name, tensor in sorted(tensors.items()):
        hub = _rename(name)
        if found := re.fullmatch(r"(vision_model\..*)\.attention\.([qkv])_proj\.(weight|bias)", hub):
            projections.setdefault(f"{found[1]}.attn.qkv.{found[3]}", []).append(tensor)
        else:
            named[hub] = tensor
    # By the order of the names above: keys, queries, values.
    fused = {name: torch.cat([query, key, value]) for name, (key, query, value) in projections.items()}
    return {**named, **fused}


def _rename(name: str) -> str:
    for pattern, hub in NAMES.items():
        name = re.sub(f"^{pattern}", hub, name)
    if name.startswith("vision_model."):
        for ours, hub in LAYER_NAMES.items():
            name = name.replace(ours, hub)
    return name
