"""As meta-llama/Llama-3.2-11B-Vision-Instruct: tiles in a tower of its own, and a Llama 3 that looks at them across layers."""

from pathlib import Path

from tests.models.checkpoints.files import CLIP_MEAN, CLIP_STD, image_steps, write_json
from tests.models.checkpoints.tokenizer import byte_level, write_tokenizer
from tests.models.checkpoints.weights import write_weights

SIDE, TILES = 56, 4
RATIOS = [[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]]
HEADERS = ("<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>", "<|python_tag|>", "<|image|>")
TEMPLATE = (
    "{{- bos_token }}{% for message in messages %}"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
    "{% if message['content'] is string %}{{- message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{- '<|image|>' }}{% else %}{{- part['text'] }}{% endif %}{% endfor %}{% endif %}"
    "{{- '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
VISION = {
    "attention_heads": 2,
    "hidden_size": 64,
    "image_size": SIDE,
    "intermediate_layers_indices": [0],
    "intermediate_size": 128,
    "max_num_tiles": TILES,
    "model_type": "mllama_vision_model",
    "num_global_layers": 1,
    "num_hidden_layers": 2,
    "patch_size": 14,
    "supported_aspect_ratios": RATIOS,
    "vision_output_dim": 128,
}
TEXT = {
    "cross_attention_layers": [1, 3],
    "hidden_size": 64,
    "intermediate_size": 160,
    "max_position_embeddings": 4096,
    "model_type": "mllama_text_model",
    "num_attention_heads": 2,
    "num_hidden_layers": 4,
    "num_key_value_heads": 1,
    "rope_theta": 500000.0,
}
NAMES = {
    r"lm_head\.": "language_model.lm_head.",
    r"model\.language_model\.": "language_model.model.",
    r"model\.": "",
}


def build(directory: Path) -> None:
    added = ("<|begin_of_text|>", "<|end_of_text|>", "<|finetune_right_pad_id|>", *HEADERS)
    ids = write_tokenizer(
        directory,
        byte_level(),
        added=added,
        kind="PreTrainedTokenizerFast",
        prepended="<|begin_of_text|>",
        bos_token="<|begin_of_text|>",
        eos_token="<|eot_id|>",
        pad_token="<|finetune_right_pad_id|>",
    )
    # The head has no row for the image token, which has the id after the last.
    special = {"bos_token_id": ids["<|begin_of_text|>"], "pad_token_id": ids["<|finetune_right_pad_id|>"]}
    ends = [ids["<|end_of_text|>"], ids["<|eom_id|>"], ids["<|eot_id|>"]]
    write_json(
        directory,
        config={
            "architectures": ["MllamaForConditionalGeneration"],
            "image_token_index": ids["<|image|>"],
            "model_type": "mllama",
            "text_config": {**TEXT, **special, "eos_token_id": ends, "vocab_size": ids["<|image|>"]},
            "torch_dtype": "bfloat16",
            "vision_config": VISION,
        },
        preprocessor_config=image_steps(
            CLIP_MEAN,
            CLIP_STD,
            do_convert_rgb=True,
            do_pad=True,
            image_processor_type="MllamaImageProcessor",
            max_image_tiles=TILES,
            processor_class="MllamaProcessor",
            resample=2,
            size={"height": SIDE, "width": SIDE},
        ),
        chat_template={"chat_template": TEMPLATE},
        generation_config={**special, "eos_token_id": ends, "do_sample": True, "temperature": 0.6, "top_p": 0.9},
    )
    write_weights(directory, NAMES)
