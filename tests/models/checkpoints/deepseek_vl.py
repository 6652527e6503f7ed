"""As deepseek-community/deepseek-vl-1.3b-chat and -7b-chat (hybrid): SigLIP, and SAM beside it, before a Llama."""

from pathlib import Path
from typing import Any

from tests.models.checkpoints.files import HALF, image_steps, write_json
from tests.models.checkpoints.tokenizer import byte_level, write_tokenizer
from tests.models.checkpoints.weights import write_weights

SIDE, PATCH = 64, 16
BEGIN, END = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"  # noqa: RUF001  # the family's own letters
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ 'User: ' }}{% elif message['role'] == 'assistant' %}{{ 'Assistant: ' }}{% endif %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}{{ '<image_placeholder>' }}"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% else %}{{ '\n\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
VISION = {
    "hidden_size": 64,
    "image_size": SIDE,
    "intermediate_size": 128,
    "model_type": "siglip_vision_model",
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "patch_size": PATCH,
    "vision_use_head": False,
}
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 160,
    "max_position_embeddings": 4096,
    "model_type": "llama",
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
}


def build(directory: Path) -> None:
    write_checkpoint(directory, "DeepseekVL", "deepseek_vl", {}, {})


def write_checkpoint(
    directory: Path, prefix: str, model_type: str, config: dict[str, Any], steps: dict[str, Any]
) -> None:
    """The files of either kind: `config` and image `steps` are what it has beside the other's."""
    ids = write_tokenizer(
        directory,
        byte_level(),
        added=(BEGIN, END, "<image_placeholder>"),
        kind="LlamaTokenizerFast",
        prepended=BEGIN,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=END,
        extra_special_tokens={"image_token": "<image_placeholder>"},
    )
    ends = {"bos_token_id": ids[BEGIN], "eos_token_id": ids[END]}
    write_json(
        directory,
        config={
            "architectures": [f"{prefix}ForConditionalGeneration"],
            "image_token_id": ids["<image_placeholder>"],
            "model_type": model_type,
            "text_config": {**TEXT, **ends, "vocab_size": len(ids)},
            "tie_word_embeddings": False,
            "torch_dtype": "float16",
            "vision_config": VISION,
            **config,
        },
        preprocessor_config=image_steps(
            HALF,
            HALF,
            do_pad=True,
            image_processor_type=f"{prefix}ImageProcessor",
            min_size=14,
            processor_class=f"{prefix}Processor",
            size={"height": SIDE, "width": SIDE},
            **steps,
        ),
        processor_config={"num_image_tokens": (SIDE // PATCH) ** 2, "processor_class": f"{prefix}Processor"},
        chat_template={"chat_template": TEMPLATE},
        generation_config={**ends, "pad_token_id": ids[END]},
    )
    write_weights(directory, {})
