"""As llava-hf/llava-v1.6-mistral-7b-hf: LLaVA that sees the image in tiles, with Mistral's prompt."""

from pathlib import Path

from tests.models.checkpoints import llava
from tests.models.checkpoints.files import CLIP_MEAN, CLIP_STD, image_steps, write_json
from tests.models.checkpoints.weights import write_weights

SIDE = llava.SIDE
GRID = [[SIDE, 2 * SIDE], [2 * SIDE, SIDE], [2 * SIDE, 2 * SIDE], [3 * SIDE, SIDE], [SIDE, 3 * SIDE]]
TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' }}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}{{ part['text'] }}{% endfor %}"
    "{{ ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'][0]['text'] + '</s> ' }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)


def build(directory: Path) -> None:
    ids = llava.write_llama_tokenizer(directory, ("<image>", "<pad>"), "LlavaNextProcessor")
    size = len(ids) + 62
    write_json(
        directory,
        config={
            "architectures": ["LlavaNextForConditionalGeneration"],
            "ignore_index": -100,
            "image_grid_pinpoints": GRID,
            "image_token_index": ids["<image>"],
            "model_type": "llava_next",
            "projector_hidden_act": "gelu",
            "text_config": {
                "architectures": ["MistralForCausalLM"],
                "model_type": "mistral",
                "sliding_window": None,
                "rope_theta": 1000000.0,
                "vocab_size": size,
                **llava.TEXT,
                "num_key_value_heads": 1,
            },
            "tie_word_embeddings": False,
            "torch_dtype": "float16",
            "use_image_newline_parameter": True,
            "vision_config": llava.VISION,
            "vision_feature_layer": -2,
            "vision_feature_select_strategy": "default",
            "vocab_size": size,
        },
        preprocessor_config=image_steps(
            CLIP_MEAN,
            CLIP_STD,
            aspect_ratio_setting="anyres",
            crop_size={"height": SIDE, "width": SIDE},
            do_center_crop=True,
            do_convert_rgb=True,
            do_pad=True,
            image_grid_pinpoints=GRID,
            image_processor_type="LlavaNextImageProcessor",
            processor_class="LlavaNextProcessor",
            size={"shortest_edge": SIDE},
        ),
        processor_config={
            "image_token": "<image>",
            "num_additional_image_tokens": 1,
            "patch_size": llava.PATCH,
            "processor_class": "LlavaNextProcessor",
            "vision_feature_select_strategy": "default",
        },
        chat_template={"chat_template": TEMPLATE},
        generation_config={"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": ids["<pad>"]},
    )
    write_weights(directory, llava.NAMES)
