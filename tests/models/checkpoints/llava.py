"""As llava-hf/llava-1.5-7b-hf: a CLIP tower and Vicuna. Its tokenizer puts <s> before a prompt, its template does not."""

from pathlib import Path

from tests.models.checkpoints.files import CLIP_MEAN, CLIP_STD, image_steps, write_json
from tests.models.checkpoints.tokenizer import metaspace, write_tokenizer
from tests.models.checkpoints.weights import write_weights

SIDE, PATCH = 56, 14
VISION = {
    "hidden_size": 64,
    "image_size": SIDE,
    "intermediate_size": 128,
    "model_type": "clip_vision_model",
    "num_attention_heads": 2,
    "num_hidden_layers": 3,
    "patch_size": PATCH,
    "projection_dim": 64,
    "vocab_size": 32000,
}
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 160,
    "max_position_embeddings": 4096,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-05,
    "torch_dtype": "float16",
}
TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] != 'system' %}{{ message['role'].upper() + ': ' }}{% endif %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}{{ part['text'] + ' ' }}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
NAMES = {
    r"model\.language_model\.": "language_model.model.",
    r"lm_head\.": "language_model.lm_head.",
    r"model\.vision_tower\.": "vision_tower.vision_model.",
    r"model\.": "",
}


def build(directory: Path) -> None:
    ids = write_llama_tokenizer(directory, ("<image>", "<pad>"), "LlavaProcessor")
    size = len(ids) + 62  # as many rows of the embedding have no token
    write_json(
        directory,
        config={
            "architectures": ["LlavaForConditionalGeneration"],
            "ignore_index": -100,
            "image_token_index": ids["<image>"],
            "model_type": "llava",
            "pad_token_id": ids["<pad>"],
            "projector_hidden_act": "gelu",
            "text_config": {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": size, **TEXT},
            "tie_word_embeddings": False,
            "torch_dtype": "float16",
            "vision_config": VISION,
            "vision_feature_layer": -2,
            "vision_feature_select_strategy": "default",
        },
        preprocessor_config=image_steps(
            CLIP_MEAN,
            CLIP_STD,
            crop_size={"height": SIDE, "width": SIDE},
            do_center_crop=True,
            do_convert_rgb=True,
            image_processor_type="CLIPImageProcessor",
            processor_class="LlavaProcessor",
            size={"shortest_edge": SIDE},
        ),
        processor_config={
            "image_token": "<image>",
            "num_additional_image_tokens": 1,
            "patch_size": PATCH,
            "processor_class": "LlavaProcessor",
            "vision_feature_select_strategy": "default",
        },
        chat_template={"chat_template": TEMPLATE},
        generation_config={"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": ids["<pad>"]},
    )
    write_weights(directory, NAMES)


def write_llama_tokenizer(directory: Path, added: tuple[str, ...], processor: str) -> dict[str, int]:
    """Llama 2's, which puts <s> before a text."""
    return write_tokenizer(
        directory,
        metaspace(("<unk>", "<s>", "</s>"), prefix=True),
        added=added,
        kind="LlamaTokenizer",
        prepended="<s>",
        add_bos_token=True,
        add_eos_token=False,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        padding_side="left",
        processor_class=processor,
    )
