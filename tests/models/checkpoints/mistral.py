"""What the checkpoints of Mistral's families share. Both tokenizer and template put <s> before a prompt."""

from pathlib import Path
from typing import Any

from tests.models.checkpoints.tokenizer import byte_level, write_tokenizer

FIRST = (
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CALLS]",
    "[IMG]",
    "<pad>",
    "[IMG_BREAK]",
    "[IMG_END]",
    "[PREFIX]",
    "[MIDDLE]",
    "[SUFFIX]",
)
IMAGE_ID = FIRST.index("[IMG]")
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '[INST]' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}"
    "{% elif part['type'] in ('image', 'image_url') %}{{ '[IMG]' }}{% endif %}"
    "{% endfor %}{% endif %}{{ '[/INST]' }}"
    "{% elif message['role'] == 'assistant' %}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{{ message['content'][0]['text'] }}{% endif %}"
    "{{ eos_token }}{% endif %}{% endfor %}"
)
TEXT: dict[str, Any] = {
    "head_dim": 32,
    "hidden_act": "silu",
    "hidden_size": 64,
    "intermediate_size": 160,
    "max_position_embeddings": 131072,
    "model_type": "mistral",
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "num_key_value_heads": 1,
    "rms_norm_eps": 1e-05,
    "rope_theta": 1000000000.0,
    "sliding_window": None,
}
VISION: dict[str, Any] = {
    "head_dim": 32,
    "hidden_act": "gelu",
    "hidden_size": 64,
    "intermediate_size": 160,
    "model_type": "pixtral",
    "num_attention_heads": 2,
    "num_channels": 3,
    "num_hidden_layers": 2,
    "rope_theta": 10000.0,
}
NAMES = {
    r"model\.language_model\.": "language_model.model.",
    r"lm_head\.": "language_model.lm_head.",
    r"model\.": "",
}
GENERATION = {"bos_token_id": 1, "eos_token_id": 2}


def write_tekken_tokenizer(directory: Path, kind: str) -> dict[str, int]:
    return write_tokenizer(
        directory,
        byte_level(FIRST),
        added=(),
        kind=kind,
        prepended="<s>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        processor_class="PixtralProcessor",
    )


def processor(patch: int, **more: Any) -> dict[str, Any]:
    """processor_config.json."""
    return {
        "image_break_token": "[IMG_BREAK]",
        "image_end_token": "[IMG_END]",
        "image_token": "[IMG]",
        "patch_size": patch,
        "processor_class": "PixtralProcessor",
        **more,
    }
