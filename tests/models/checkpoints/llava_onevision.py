"""As llava-hf/llava-onevision-qwen2-0.5b-ov-hf: a SigLIP tower; one image is seen in tiles, several are not."""

from pathlib import Path

from tests.models.checkpoints import llava, qwen
from tests.models.checkpoints.files import HALF, image_steps, write_json
from tests.models.checkpoints.tokenizer import byte_level, write_tokenizer
from tests.models.checkpoints.weights import write_weights

SIDE, PATCH = 56, 14
GRID = [[rows * SIDE, columns * SIDE] for rows in range(1, 4) for columns in range(1, 4)]
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + ' ' }}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>' }}{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'video') %}{{ '<video>' }}{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}{{ '\n' + part['text'] }}{% endfor %}"
    "{{ '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def build(directory: Path) -> None:
    ids = write_tokenizer(
        directory,
        byte_level(),
        added=("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>"),
        kind="Qwen2Tokenizer",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        processor_class="LlavaOnevisionProcessor",
    )
    steps = {"do_convert_rgb": True, "processor_class": "LlavaOnevisionProcessor"}
    size = {"height": SIDE, "width": SIDE}
    write_json(
        directory,
        config={
            "architectures": ["LlavaOnevisionForConditionalGeneration"],
            "image_grid_pinpoints": GRID,
            "image_token_index": ids["<image>"],
            "model_type": "llava_onevision",
            "projector_hidden_act": "gelu",
            "text_config": {"model_type": "qwen2", "vocab_size": len(ids), **qwen.LANGUAGE_MODEL},
            "tie_word_embeddings": False,
            "torch_dtype": "float16",
            "use_image_newline_parameter": True,
            "video_token_index": ids["<video>"],
            "vision_aspect_ratio": "anyres_max_9",
            "vision_config": {
                "hidden_size": 64,
                "image_size": SIDE,
                "intermediate_size": 128,
                "model_type": "siglip_vision_model",
                "num_attention_heads": 2,
                "num_hidden_layers": 2,
                "patch_size": PATCH,
                "vision_use_head": False,
            },
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "full",
        },
        preprocessor_config=image_steps(
            HALF,
            HALF,
            **steps,
            do_pad=True,
            image_grid_pinpoints=GRID,
            image_processor_type="LlavaOnevisionImageProcessor",
            size=size,
        ),
        video_preprocessor_config=image_steps(
            HALF, HALF, **steps, size=size, video_processor_type="LlavaOnevisionVideoProcessor"
        ),
        processor_config={
            "image_token": "<image>",
            "num_image_tokens": (SIDE // PATCH) ** 2,
            "processor_class": "LlavaOnevisionProcessor",
            "video_token": "<video>",
            "vision_feature_select_strategy": "full",
        },
        chat_template={"chat_template": TEMPLATE},
        generation_config=qwen.generation(ids),
    )
    write_weights(directory, llava.NAMES)
