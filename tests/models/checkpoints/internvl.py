"""As OpenGVLab/InternVL3-1B-hf: an InternViT tower, tiles of the image, Qwen 2.5."""

from pathlib import Path

from tests.models.checkpoints import qwen
from tests.models.checkpoints.files import IMAGENET_MEAN, IMAGENET_STD, image_steps, write_json
from tests.models.checkpoints.tokenizer import byte_level, write_tokenizer
from tests.models.checkpoints.weights import write_weights

SIDE = 56
IMAGE_TOKENS = 4  # of a tile: its 4x4 patches, shuffled together
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<IMG_CONTEXT>\n' }}"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TOKENS = {
    "context_image_token": "<IMG_CONTEXT>",
    "end_image_token": "</img>",
    "start_image_token": "<img>",
    "video_token": "<video>",
}
NAMES = {
    r"model\.language_model\.": "language_model.model.",
    r"lm_head\.": "language_model.lm_head.",
    r"model\.": "",
}


def build(directory: Path) -> None:
    ids = write_tokenizer(
        directory,
        byte_level(),
        added=("<|endoftext|>", "<|im_start|>", "<|im_end|>", *TOKENS.values()),
        kind="Qwen2Tokenizer",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=TOKENS,
        processor_class="InternVLProcessor",
        **TOKENS,
    )
    write_json(
        directory,
        config={
            "architectures": ["InternVLForConditionalGeneration"],
            "downsample_ratio": 0.5,
            "image_seq_length": IMAGE_TOKENS,
            "image_token_id": ids["<IMG_CONTEXT>"],
            "model_type": "internvl",
            "projector_hidden_act": "gelu",
            "text_config": {
                "architectures": ["Qwen2ForCausalLM"],
                "model_type": "qwen2",
                "vocab_size": len(ids) + 30,
                "tie_word_embeddings": False,
                **qwen.LANGUAGE_MODEL,
            },
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            "vision_config": {
                "architectures": ["InternVisionModel"],
                "attention_bias": True,
                "hidden_act": "gelu",
                "hidden_size": 64,
                "image_size": [SIDE, SIDE],
                "intermediate_size": 128,
                "layer_norm_eps": 1e-06,
                "layer_scale_init_value": 0.1,
                "model_type": "internvl_vision",
                "norm_type": "layer_norm",
                "num_attention_heads": 2,
                "num_channels": 3,
                "num_hidden_layers": 2,
                "patch_size": [14, 14],
                "use_absolute_position_embeddings": True,
                "use_mask_token": False,
                "use_mean_pooling": True,
                "use_qk_norm": False,
            },
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "default",
        },
        preprocessor_config=image_steps(
            IMAGENET_MEAN,
            IMAGENET_STD,
            crop_to_patches=False,
            do_convert_rgb=True,
            image_processor_type="GotOcr2ImageProcessorFast",
            max_patches=12,
            min_patches=1,
            processor_class="InternVLProcessor",
            size={"height": SIDE, "width": SIDE},
        ),
        processor_config={"image_seq_length": IMAGE_TOKENS, "processor_class": "InternVLProcessor"},
        chat_template={"chat_template": TEMPLATE},
        generation_config={"eos_token_id": ids["<|im_end|>"], "pad_token_id": ids["<|endoftext|>"]},
    )
    write_weights(directory, NAMES)
