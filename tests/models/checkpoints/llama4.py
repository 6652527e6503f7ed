"""As meta-llama/Llama-4-Scout-17B-16E-Instruct: images cut into tiles of the canvas that fits their shape best."""

from pathlib import Path

from tests.models.checkpoints.files import HALF, image_steps, write_json
from tests.models.checkpoints.tokenizer import byte_level, write_tokenizer
from tests.models.checkpoints.weights import write_weights

# Every image of the chats has several tiles: one of a single tile stops vLLM's engine on a CPU, where its product of
# matrices refuses the patches of a lone tile ("Expected a.stride(-1) == 1"). On a GPU it does not.
SIDE, PATCH = 28, 7
TEXT = {
    "attention_chunk_size": 8192,
    "attn_scale": 0.1,
    "attn_temperature_tuning": True,
    "floor_scale": 8192,
    "head_dim": 32,
    "hidden_act": "silu",
    "hidden_size": 64,
    "interleave_moe_layer_step": 1,
    "intermediate_size": 64,
    "intermediate_size_mlp": 128,
    "max_position_embeddings": 4096,
    "model_type": "llama4_text",
    "no_rope_layers": [1, 1, 1, 0],
    "num_attention_heads": 2,
    "num_experts_per_tok": 1,
    "num_hidden_layers": 4,
    "num_key_value_heads": 1,
    "num_local_experts": 4,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "factor": 16.0,
        "high_freq_factor": 1.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
    "use_qk_norm": True,
}
VISION = {
    "hidden_act": "gelu",
    "hidden_size": 64,
    "image_size": SIDE,
    "intermediate_size": 256,
    "model_type": "llama4_vision_model",
    "multi_modal_projector_bias": False,
    "num_attention_heads": 2,
    "num_channels": 3,
    "num_hidden_layers": 2,
    "patch_size": PATCH,
    "pixel_shuffle_ratio": 0.5,
    "projector_input_dim": 128,
    "projector_output_dim": 128,
    "rope_theta": 10000,
    "vision_feature_layer": -1,
    "vision_feature_select_strategy": "default",
    "vision_output_dim": 128,
}
SPECIAL = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|header_start|>",
    "<|header_end|>",
    "<|eom|>",
    "<|eot|>",
    "<|image_start|>",
    "<|image_end|>",
    "<|tile_x_separator|>",
    "<|tile_y_separator|>",
    "<|image|>",
    "<|patch|>",
    "<|finetune_right_pad|>",
)
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|header_start|>' + message['role'] + '<|header_end|>\n\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<|image|>' }}{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{{ '<|eot|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|header_start|>assistant<|header_end|>\n\n' }}{% endif %}"
)


def build(directory: Path) -> None:
    ids = write_tokenizer(
        directory,
        byte_level(),
        added=SPECIAL,
        kind="PreTrainedTokenizerFast",
        prepended="<|begin_of_text|>",
        bos_token="<|begin_of_text|>",
        eos_token="<|eot|>",
        pad_token="<|finetune_right_pad|>",
        chat_template=TEMPLATE,
        processor_class="Llama4Processor",
    )
    ends = {
        "bos_token_id": ids["<|begin_of_text|>"],
        "eos_token_id": [ids["<|end_of_text|>"], ids["<|eom|>"], ids["<|eot|>"]],
        "pad_token_id": ids["<|finetune_right_pad|>"],
    }
    write_json(
        directory,
        config={
            "architectures": ["Llama4ForConditionalGeneration"],
            "boi_token_index": ids["<|image_start|>"],
            "eoi_token_index": ids["<|image_end|>"],
            "image_token_index": ids["<|patch|>"],
            "model_type": "llama4",
            "text_config": {**TEXT, **ends, "vocab_size": len(ids)},
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            "vision_config": VISION,
        },
        preprocessor_config=image_steps(
            HALF,
            HALF,
            do_convert_rgb=True,
            image_processor_type="Llama4ImageProcessorFast",
            max_patches=16,
            processor_class="Llama4Processor",
            resample=2,
            resize_to_max_canvas=False,
            size={"height": SIDE, "width": SIDE},
        ),
        processor_config={
            "fake_image_token": "<|image|>",
            "image_token": "<|image|>",
            "patch_size": PATCH,
            "processor_class": "Llama4Processor",
        },
        generation_config=ends,
    )
    (directory / "chat_template.jinja").write_text(TEMPLATE)
    write_weights(directory, {})
