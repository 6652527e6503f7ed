"""As HuggingFaceM4/Idefics3-8B-Llama3: the image and its tiles, each between tokens that say which it is."""

from pathlib import Path
from typing import Any

from tests.models.checkpoints.files import HALF, image_steps, write_json
from tests.models.checkpoints.tokenizer import byte_level, write_tokenizer
from tests.models.checkpoints.weights import write_weights

SIDE = 56
IMAGE_TOKENS = 4  # of a tile: its 4x4 patches, shuffled together
FAKE, END = "<fake_token_around_image>", "<end_of_utterance>"
TURNS = (
    "{% for message in messages %}{{ message['role'] | capitalize }}"
    "{% if message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% elif part['type'] == 'image' %}{{ '<image>' }}{% endif %}"
    "{% endfor %}{{ '<end_of_utterance>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
TEXT: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 160,
    "max_position_embeddings": 131072,
    "model_type": "llama",
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "num_key_value_heads": 1,
    "rms_norm_eps": 1e-05,
    "rope_theta": 500000.0,
    "torch_dtype": "bfloat16",
}
VISION: dict[str, Any] = {
    "hidden_size": 64,
    "image_size": SIDE,
    "intermediate_size": 128,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "patch_size": 14,
}
STEPS: dict[str, Any] = {
    "do_convert_rgb": True,
    "do_image_splitting": True,
    "do_pad": True,
    "max_image_size": {"longest_edge": SIDE},
    "resample": 1,
    "size": {"longest_edge": 4 * SIDE},
}


def build(directory: Path) -> None:
    first = "<|begin_of_text|>"
    ids = write_tokenizer(
        directory,
        byte_level(),
        added=(first, "<|end_of_text|>", "<|reserved_special_token_0|>", FAKE, "<image>", END),
        kind="PreTrainedTokenizerFast",
        prepended=first,
        bos_token=first,
        eos_token="<|end_of_text|>",
        pad_token="<|reserved_special_token_0|>",
        extra_special_tokens=[FAKE, "<image>", END],
        processor_class="Idefics3Processor",
    )
    ends = {
        "bos_token_id": ids[first],
        "eos_token_id": ids["<|end_of_text|>"],
        "pad_token_id": ids["<|reserved_special_token_0|>"],
    }
    write_json(
        directory,
        config={
            "architectures": ["Idefics3ForConditionalGeneration"],
            "image_token_id": ids["<image>"],
            "model_type": "idefics3",
            "scale_factor": 2,
            "text_config": {"architectures": ["VLlama3ForCausalLM"], "vocab_size": len(ids), **ends, **TEXT},
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            "vision_config": {"model_type": "idefics3", **VISION},
        },
        preprocessor_config=image_steps(
            HALF,
            HALF,
            **STEPS,
            image_processor_type="Idefics3ImageProcessor",
            processor_class="Idefics3Processor",
        ),
        processor_config={"image_seq_len": IMAGE_TOKENS, "processor_class": "Idefics3Processor"},
        chat_template={"chat_template": "{{ '<|begin_of_text|>' }}" + TURNS},
        generation_config={**ends, "eos_token_id": [ids["<|end_of_text|>"], ids[END]]},
    )
    write_weights(directory, {})
