"""As google/gemma-3-4b-it: a SigLIP tower, local and global layers; the tokens of an image see each other."""

from pathlib import Path

from tests.models.checkpoints import gemma
from tests.models.checkpoints.files import HALF, image_steps, write_json
from tests.models.checkpoints.weights import write_weights

SIDE = 56
IMAGE_TOKENS = 4  # the tower's 4x4 patches, pooled
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] | trim }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<start_of_image>' }}"
    "{% elif part['type'] == 'text' %}{{ part['text'] | trim }}{% endif %}"
    "{% endfor %}{% endif %}{{ '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
TOKENS = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
NAMES = {
    r"model\.language_model\.": "language_model.model.",
    r"model\.vision_tower\.": "vision_tower.vision_model.",
    r"model\.": "",
}


def build(directory: Path) -> None:
    ids = gemma.write_gemma_tokenizer(
        directory,
        "<start_of_turn>",
        "<end_of_turn>",
        *TOKENS.values(),
        **TOKENS,
        extra_special_tokens=TOKENS,
        processor_class="Gemma3Processor",
    )
    ends = [gemma.IDS["eos_token_id"], ids["<end_of_turn>"]]
    write_json(
        directory,
        config={
            "architectures": ["Gemma3ForConditionalGeneration"],
            "boi_token_index": ids["<start_of_image>"],
            "eoi_token_index": ids["<end_of_image>"],
            "eos_token_id": ends,
            "image_token_index": ids["<image_soft_token>"],
            "mm_tokens_per_image": IMAGE_TOKENS,
            "model_type": "gemma3",
            "text_config": {
                "head_dim": 32,
                "hidden_size": 64,
                "intermediate_size": 160,
                "model_type": "gemma3_text",
                "num_attention_heads": 2,
                "num_hidden_layers": 6,  # the last of six is global
                "num_key_value_heads": 1,
                "query_pre_attn_scalar": 32,
                "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
                "sliding_window": 32,
                "vocab_size": len(ids) + 40,
            },
            "torch_dtype": "bfloat16",
            "vision_config": {
                "hidden_size": 64,
                "image_size": SIDE,
                "intermediate_size": 128,
                "model_type": "siglip_vision_model",
                "num_attention_heads": 2,
                "num_hidden_layers": 2,
                "patch_size": 14,
                "vision_use_head": False,
            },
        },
        preprocessor_config=image_steps(
            HALF,
            HALF,
            do_convert_rgb=None,
            do_pan_and_scan=None,
            image_processor_type="Gemma3ImageProcessor",
            image_seq_length=IMAGE_TOKENS,
            processor_class="Gemma3Processor",
            resample=2,
            size={"height": SIDE, "width": SIDE},
        ),
        processor_config={"image_seq_length": IMAGE_TOKENS, "processor_class": "Gemma3Processor"},
        chat_template={"chat_template": TEMPLATE},
        generation_config={"bos_token_id": 2, "eos_token_id": ends, "pad_token_id": 0},
    )
    write_weights(directory, NAMES)
