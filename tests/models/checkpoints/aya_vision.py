"""As CohereLabs/aya-vision-8b: a SigLIP tower, tiles of the image, Command R7B, whose config scales the logits."""

from pathlib import Path

from tests.models.checkpoints import llava
from tests.models.checkpoints.files import HALF, image_steps, write_json
from tests.models.checkpoints.tokenizer import byte_level, write_tokenizer
from tests.models.checkpoints.weights import write_weights

SIDE, PATCH = 56, 14
FIRST = ("<PAD>", "<UNK>", "<CLS>", "<SEP>", "<MASK_TOKEN>", "<BOS_TOKEN>", "<EOS_TOKEN>", "<EOP_TOKEN>")
TURN, END_OF_TURN = "<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>"
ADDED = (
    TURN,
    END_OF_TURN,
    "<|USER_TOKEN|>",
    "<|CHATBOT_TOKEN|>",
    "<|SYSTEM_TOKEN|>",
    "<|START_RESPONSE|>",
    "<|END_RESPONSE|>",
    "<|START_OF_IMG|>",
    "<|END_OF_IMG|>",
    "<|IMG_PATCH|>",
    "<|IMG_LINE_BREAK|>",
    "TILE_GLOBAL",
    *(f"TILE_{number}" for number in range(1, 13)),
    "<image>",
)
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|START_OF_TURN_TOKEN|>' }}"
    "{{ '<|CHATBOT_TOKEN|><|START_RESPONSE|>' if message['role'] == 'assistant' else '<|USER_TOKEN|>' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<image>' }}{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{% if message['role'] == 'assistant' %}{{ '<|END_RESPONSE|>' }}{% endif %}"
    "{{ '<|END_OF_TURN_TOKEN|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|><|START_RESPONSE|>' }}{% endif %}"
)


def build(directory: Path) -> None:
    ids = write_tokenizer(
        directory,
        byte_level(FIRST),
        added=ADDED,
        kind="CohereTokenizer",
        prepended="<BOS_TOKEN>",
        add_bos_token=True,
        add_eos_token=False,
        bos_token="<BOS_TOKEN>",
        eos_token=END_OF_TURN,
        pad_token="<PAD>",
        unk_token="<UNK>",
        padding_side="left",
        processor_class="AyaVisionProcessor",
    )
    ends = {"bos_token_id": ids["<BOS_TOKEN>"], "eos_token_id": ids[END_OF_TURN], "pad_token_id": ids["<PAD>"]}
    write_json(
        directory,
        config={
            "adapter_layer_norm_eps": 1e-06,
            "architectures": ["AyaVisionForConditionalGeneration"],
            "downsample_factor": 2,
            "image_token_index": ids["<|IMG_PATCH|>"],
            "model_type": "aya_vision",
            "text_config": {
                "architectures": ["Cohere2ForCausalLM"],
                **ends,
                "head_dim": 32,
                "hidden_act": "silu",
                "hidden_size": 64,
                "intermediate_size": 160,
                "layer_norm_eps": 1e-05,
                "logit_scale": 0.25,
                "max_position_embeddings": 16384,
                "model_type": "cohere2",
                "num_attention_heads": 2,
                "num_hidden_layers": 4,
                "num_key_value_heads": 1,
                "rope_theta": 50000,
                "sliding_window": 32,
                "sliding_window_pattern": 4,
                "vocab_size": len(ids),
            },
            "torch_dtype": "bfloat16",
            "vision_config": {
                "hidden_size": 64,
                "image_size": SIDE,
                "intermediate_size": 128,
                "model_type": "siglip_vision_model",
                "num_attention_heads": 2,
                "num_hidden_layers": 2,
                "patch_size": PATCH,
                "vision_use_head": False,
            },
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "full",
        },
        preprocessor_config=image_steps(
            HALF,
            HALF,
            crop_to_patches=True,
            do_convert_rgb=True,
            image_processor_type="GotOcr2ImageProcessor",
            max_patches=12,
            min_patches=1,
            processor_class="AyaVisionProcessor",
            size={"height": SIDE, "width": SIDE},
        ),
        processor_config={"img_size": SIDE, "patch_size": 2 * PATCH, "processor_class": "AyaVisionProcessor"},
        chat_template={"chat_template": TEMPLATE},
        generation_config=ends,
    )
    write_weights(directory, llava.NAMES)
