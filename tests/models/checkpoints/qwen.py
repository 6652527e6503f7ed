"""What the checkpoints of Qwen's families share: tokenizer, templates, language model."""

from pathlib import Path

from tests.models.checkpoints.tokenizer import byte_level, write_tokenizer

SPECIALS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
LANGUAGE_MODEL = {
    "hidden_act": "silu",
    "hidden_size": 64,
    "intermediate_size": 160,
    "max_position_embeddings": 32768,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "num_key_value_heads": 1,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
}
PIXELS = {"min_pixels": 3136, "max_pixels": 100352}  # the hub's maximum is 12845056, on which the start is measured
_SYSTEM = (
    "{% if loop.first and message['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
)
_TURNS = (
    "{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' or 'image' in part or 'image_url' in part %}"
    "{{ '<|vision_start|><|image_pad|><|vision_end|>' }}"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{{ '<|im_end|>\n' }}"
)
_END = "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
TEMPLATE = "{% for message in messages %}" + _TURNS + _END
TEMPLATE_WITH_SYSTEM = "{% for message in messages %}" + _SYSTEM + _TURNS + _END


def write_qwen_tokenizer(directory: Path, template: str, *more: str) -> dict[str, int]:
    """With the special tokens of the vision models, and `more`. Nothing is put before a prompt."""
    return write_tokenizer(
        directory,
        byte_level(),
        added=(*SPECIALS, *more),
        kind="Qwen2Tokenizer",
        add_prefix_space=False,
        bos_token=None,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token=None,
        errors="replace",
        split_special_tokens=False,
        chat_template=template,
    )


def token_ids(ids: dict[str, int]) -> dict[str, int]:
    """The ids of special tokens, by their names in config.json."""
    names = {"image": "<|image_pad|>", "video": "<|video_pad|>", "vision_start": "<|vision_start|>"}
    return {f"{name}_token_id": ids[token] for name, token in {**names, "vision_end": "<|vision_end|>"}.items()}


def generation(ids: dict[str, int]) -> dict[str, object]:
    """generation_config.json, without the sampling that the hub's has."""
    end, pad = ids["<|im_end|>"], ids["<|endoftext|>"]
    return {"bos_token_id": pad, "pad_token_id": pad, "eos_token_id": [end, pad], "do_sample": False}
