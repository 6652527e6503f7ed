"""As google/paligemma-3b-pt-224: a base model with one image before its text, and no chat template."""

from pathlib import Path

from tests.models.checkpoints import gemma, gemma3
from tests.models.checkpoints.files import HALF, image_steps, write_json
from tests.models.checkpoints.weights import write_weights

SIDE = 56
IMAGE_TOKENS = 16


def build(directory: Path) -> None:
    ids = gemma.write_gemma_tokenizer(
        directory,
        "<image>",
        extra_special_tokens={"image_token": "<image>"},
        processor_class="PaliGemmaProcessor",
    )
    write_json(
        directory,
        config={
            "architectures": ["PaliGemmaForConditionalGeneration"],
            **gemma.IDS,
            "hidden_size": 64,
            "image_token_index": ids["<image>"],
            "model_type": "paligemma",
            "projection_dim": 64,
            "text_config": {
                "head_dim": 32,
                "hidden_size": 64,
                "intermediate_size": 160,
                "model_type": "gemma",
                "num_attention_heads": 2,
                "num_hidden_layers": 2,
                "num_image_tokens": IMAGE_TOKENS,
                "num_key_value_heads": 1,
                "torch_dtype": "float32",
                "vocab_size": len(ids) + 1152,  # the processor adds as many tokens for places and segments
            },
            "torch_dtype": "float32",
            "vision_config": {
                "hidden_size": 64,
                "image_size": SIDE,
                "intermediate_size": 128,
                "model_type": "siglip_vision_model",
                "num_attention_heads": 2,
                "num_hidden_layers": 2,
                "num_image_tokens": IMAGE_TOKENS,
                "patch_size": 14,
                "projection_dim": 64,
                "projector_hidden_act": "gelu_fast",
                "torch_dtype": "float32",
                "vision_use_head": False,
            },
        },
        preprocessor_config=image_steps(
            HALF,
            HALF,
            image_processor_type="SiglipImageProcessor",
            image_seq_length=IMAGE_TOKENS,
            processor_class="PaliGemmaProcessor",
            size={"height": SIDE, "width": SIDE},
        ),
        generation_config=gemma.IDS,
    )
    write_weights(directory, gemma3.NAMES)
