"""As mistral-community/pixtral-12b: a tower for images of any size, in LLaVA's architecture."""

from pathlib import Path

from tests.models.checkpoints import mistral
from tests.models.checkpoints.files import CLIP_MEAN, CLIP_STD, image_steps, write_json
from tests.models.checkpoints.weights import write_weights

SIDE, PATCH = 256, 16


def build(directory: Path) -> None:
    ids = mistral.write_tekken_tokenizer(directory, "PreTrainedTokenizerFast")
    write_json(
        directory,
        config={
            "architectures": ["LlavaForConditionalGeneration"],
            "ignore_index": -100,
            "image_seq_length": 1,
            "image_token_index": mistral.IMAGE_ID,
            "model_type": "llava",
            "projector_hidden_act": "gelu",
            "text_config": {**mistral.TEXT, "is_composition": True, "vocab_size": len(ids)},
            "torch_dtype": "bfloat16",
            "vision_config": {
                **mistral.VISION,
                "image_size": SIDE,
                "is_composition": True,
                "patch_size": PATCH,
                "tie_word_embeddings": False,
            },
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "full",
        },
        preprocessor_config=image_steps(
            CLIP_MEAN,
            CLIP_STD,
            do_convert_rgb=True,
            image_processor_type="PixtralImageProcessor",
            patch_size={"height": PATCH, "width": PATCH},
            processor_class="PixtralProcessor",
            size={"longest_edge": SIDE},
        ),
        processor_config=mistral.processor(PATCH),
        chat_template={"chat_template": mistral.TEMPLATE},
        generation_config=mistral.GENERATION,
    )
    write_weights(directory, mistral.NAMES)
