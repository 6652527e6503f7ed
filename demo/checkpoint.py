"""A trained model and its tokenizer enter; a directory that transformers and vLLM load leaves."""

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from demo.tokenizer import BOS_ID, EOS_ID, IMAGE_ID, MAX_POSITIONS, PAD_ID, VOCABULARY

IMAGE_SIZE = 56
PATCH_SIZE = 14
IMAGE_TOKENS = (IMAGE_SIZE // PATCH_SIZE) ** 2
IMAGE_MEAN = (0.48145466, 0.4578275, 0.40821073)
IMAGE_STD = (0.26862954, 0.26130258, 0.27577711)


def image_processor() -> CLIPImageProcessor:
    """The whole image is squeezed into a square: nothing is cropped away, so a shape at an edge is seen."""
    side = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    return CLIPImageProcessor(
        size=side, crop_size=side, do_center_crop=False, image_mean=list(IMAGE_MEAN), image_std=list(IMAGE_STD)
    )


def make_processor(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    return LlavaProcessor(
        image_processor=image_processor(),
        tokenizer=tokenizer,
        patch_size=PATCH_SIZE,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=tokenizer.chat_template,
    )


def make_config(vision_layers: int = 4) -> LlavaConfig:
    vision = CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=vision_layers,
        num_attention_heads=4,
        image_size=IMAGE_SIZE,
        patch_size=PATCH_SIZE,
        projection_dim=128,
    )
    text = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=320,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=MAX_POSITIONS,
        tie_word_embeddings=False,
        bos_token_id=BOS_ID,
        eos_token_id=EOS_ID,
        pad_token_id=PAD_ID,
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=IMAGE_ID,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=IMAGE_TOKENS,
        tie_word_embeddings=False,
        bos_token_id=BOS_ID,
        eos_token_id=EOS_ID,
        pad_token_id=PAD_ID,
    )


def make_model(seed: int) -> LlavaForConditionalGeneration:
    """Random weights, larger than transformers' own: at 0.02 the positions drown beside the patches."""
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(make_config())
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "vision_tower" in name:
                if "position_embedding" in name:
                    weight.normal_(0, 0.2)
            elif weight.dim() == 2:
                weight.normal_(0, weight.shape[1] ** -0.5 if "projector" in name else 0.05)
    return model


def export(model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, directory: Path) -> None:
    """Write fp16 weights, configs, tokenizer, template and how to serve them, readable by every user."""
    directory.mkdir(parents=True, exist_ok=True)
    model.generation_config = GenerationConfig(
        bos_token_id=BOS_ID, eos_token_id=EOS_ID, pad_token_id=PAD_ID, do_sample=False
    )
    model.half().save_pretrained(directory)
    make_processor(tokenizer).save_pretrained(directory)
    _rename_vision_keys(directory / "model.safetensors")
    shutil.copy(Path(__file__).with_name("serving.properties"), directory)
    for path in directory.iterdir():
        path.chmod(0o644)


def _rename_vision_keys(path: Path) -> None:
    # Checkpoints on the hub, and so vLLM, have a level that transformers 5 no longer writes (it reads both).
    tensors = load_file(path)
    renamed = {k.replace("vision_tower.", "vision_tower.vision_model.", 1): v for k, v in tensors.items()}
    save_file(renamed, path, metadata={"format": "pt"})
