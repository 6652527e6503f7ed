"""As zai-org/GLM-4.1V-9B-Thinking: images of any size, GLM 4 with positions of three axes."""

from pathlib import Path

from tests.models.checkpoints.files import CLIP_MEAN, CLIP_STD, write_json
from tests.models.checkpoints.tokenizer import byte_level, write_tokenizer
from tests.models.checkpoints.weights import write_weights

ENDS = ("<|endoftext|>", "<|user|>", "<|observation|>")
MEDIA = {
    "image_start_token_id": "<|begin_of_image|>",
    "image_end_token_id": "<|end_of_image|>",
    "video_start_token_id": "<|begin_of_video|>",
    "video_end_token_id": "<|end_of_video|>",
    "image_token_id": "<|image|>",
    "video_token_id": "<|video|>",
}
TEMPLATE = (
    "[gMASK]<sop>\n{%- for message in messages %}{{ '<|' + message['role'] + '|>\n' }}"
    "{%- if message['content'] is string %}{{ message['content'] }}{%- else %}"
    "{%- for part in message['content'] %}"
    "{%- if part['type'] == 'image' %}{{ '<|begin_of_image|><|image|><|end_of_image|>' }}"
    "{%- elif part['type'] == 'text' %}{{ part['text'] }}{%- endif %}"
    "{%- endfor %}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<|assistant|>\n' }}{%- endif %}"
)


def build(directory: Path) -> None:
    ids = write_tokenizer(
        directory,
        byte_level(),
        added=(*ENDS, "[gMASK]", "<sop>", "<|system|>", "<|assistant|>", *MEDIA.values()),
        kind="PreTrainedTokenizerFast",
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        padding_side="left",
        processor_class="Glm4vProcessor",
    )
    ends = {"eos_token_id": [ids[token] for token in ENDS], "pad_token_id": ids["<|endoftext|>"]}
    steps = {
        "do_rescale": True,
        "image_mean": CLIP_MEAN,
        "image_std": CLIP_STD,
        "merge_size": 2,
        "patch_size": 14,
        "processor_class": "Glm4vProcessor",
        "size": {"shortest_edge": 12544, "longest_edge": 100352},  # the hub's maximum: 9633792
        "temporal_patch_size": 2,
    }
    write_json(
        directory,
        config={
            "architectures": ["Glm4vForConditionalGeneration"],
            "model_type": "glm4v",
            **{name: ids[token] for name, token in MEDIA.items()},
            "text_config": {
                "attention_bias": True,
                **ends,
                "hidden_act": "silu",
                "hidden_size": 64,
                "intermediate_size": 160,
                "max_position_embeddings": 65536,
                "model_type": "glm4v_text",
                "num_attention_heads": 2,
                "num_hidden_layers": 2,
                "num_key_value_heads": 1,
                "partial_rotary_factor": 0.5,
                "rms_norm_eps": 1e-05,
                "rope_scaling": {"mrope_section": [2, 3, 3], "rope_type": "default"},
                "rope_theta": 10000.0,
                "vocab_size": len(ids) + 20,
            },
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            "vision_config": {
                "attention_bias": False,
                "depth": 2,
                "hidden_act": "silu",
                "hidden_size": 64,
                "image_size": 112,
                "in_channels": 3,
                "intermediate_size": 160,
                "model_type": "glm4v",
                "num_heads": 2,
                "out_hidden_size": 64,
                "patch_size": 14,
                "rms_norm_eps": 1e-05,
                "spatial_merge_size": 2,
                "temporal_patch_size": 2,
            },
        },
        preprocessor_config={**steps, "image_processor_type": "Glm4vImageProcessor"},
        video_preprocessor_config={**steps, "video_processor_type": "Glm4vVideoProcessor"},
        chat_template={"chat_template": TEMPLATE},
        generation_config=ends,
    )
    write_weights(directory, {})
