"""As mistralai/Mistral-Small-3.1-24B-Instruct-2503 in transformers' form: Pixtral's tower, with patches merged by four."""

from pathlib import Path

from tests.models.checkpoints import mistral
from tests.models.checkpoints.files import CLIP_MEAN, CLIP_STD, image_steps, write_json
from tests.models.checkpoints.weights import write_weights

SIDE, PATCH = 280, 14


def build(directory: Path) -> None:
    ids = mistral.write_tekken_tokenizer(directory, "LlamaTokenizerFast")
    write_json(
        directory,
        config={
            "architectures": ["Mistral3ForConditionalGeneration"],
            "image_token_index": mistral.IMAGE_ID,
            "model_type": "mistral3",
            "multimodal_projector_bias": False,
            "projector_hidden_act": "gelu",
            "spatial_merge_size": 2,
            "text_config": {**mistral.TEXT, "vocab_size": len(ids)},
            "tie_word_embeddings": False,  # transformers' default is True, which the hub's weights override
            "torch_dtype": "bfloat16",
            "vision_config": {**mistral.VISION, "image_size": SIDE, "patch_size": PATCH},
            "vision_feature_layer": -1,
        },
        preprocessor_config=image_steps(
            CLIP_MEAN,
            CLIP_STD,
            do_convert_rgb=None,
            image_processor_type="PixtralImageProcessorFast",
            patch_size={"height": PATCH, "width": PATCH},
            processor_class="PixtralProcessor",
            size={"longest_edge": SIDE},
        ),
        processor_config=mistral.processor(PATCH, spatial_merge_size=2),
        chat_template={"chat_template": mistral.TEMPLATE},
        generation_config=mistral.GENERATION,
    )
    write_weights(directory, mistral.NAMES)
