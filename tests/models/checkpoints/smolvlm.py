"""As HuggingFaceTB/SmolVLM-256M-Instruct: Idefics 3 with a smaller language model, and a token for each tile."""

from pathlib import Path

from tests.models.checkpoints import idefics3
from tests.models.checkpoints.files import HALF, image_steps, write_json
from tests.models.checkpoints.tokenizer import byte_level, write_tokenizer
from tests.models.checkpoints.weights import write_weights

TILES = tuple(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7))
FIRST = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def build(directory: Path) -> None:
    added = (*FIRST, idefics3.FAKE, "<global-img>", *TILES, "<image>", idefics3.END)
    ids = write_tokenizer(
        directory,
        byte_level(),
        added=added,
        kind="GPT2Tokenizer",
        add_prefix_space=False,
        bos_token="<|im_start|>",
        eos_token=idefics3.END,
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
        extra_special_tokens=[idefics3.FAKE, "<image>", idefics3.END],
        processor_class="SmolVLMProcessor",
    )
    ends = {
        "bos_token_id": ids["<|im_start|>"],
        "eos_token_id": ids[idefics3.END],
        "pad_token_id": ids["<|im_end|>"],
    }
    write_json(
        directory,
        config={
            "architectures": ["SmolVLMForConditionalGeneration"],
            "image_token_id": ids["<image>"],
            "model_type": "smolvlm",
            "scale_factor": 2,
            "text_config": {"architectures": ["VLlama3ForCausalLM"], "vocab_size": len(ids), **ends, **idefics3.TEXT},
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            "vision_config": {"model_type": "smolvlm_vision", **idefics3.VISION},
        },
        preprocessor_config=image_steps(
            HALF,
            HALF,
            **idefics3.STEPS,
            image_processor_type="SmolVLMImageProcessor",
            processor_class="SmolVLMProcessor",
            video_sampling={"fps": 1, "max_frames": 64, "video_size": {"longest_edge": idefics3.SIDE}},
        ),
        processor_config={"image_seq_len": idefics3.IMAGE_TOKENS, "processor_class": "SmolVLMProcessor"},
        chat_template={"chat_template": "{{ '<|im_start|>' }}" + idefics3.TURNS},
        generation_config=ends,
    )
    write_weights(directory, {})
