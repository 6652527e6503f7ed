"""As facebook/chameleon-7b: images become tokens of the vocabulary by a VQ-VAE. It ships no chat template."""

from pathlib import Path

from tests.models.checkpoints.files import write_json
from tests.models.checkpoints.tokenizer import byte_level, write_tokenizer
from tests.models.checkpoints.weights import write_weights

SIDE, CODES = 64, 32
FIRST = ("<s>", "<pad>", "</s>", "<unk>")


def build(directory: Path) -> None:
    # The names of the codes are letters: IMGIMGBA is that of code 10.
    codes = {f"IMGIMG{''.join('ABCDEFGHIJ'[int(digit)] for digit in str(code))}Z": code for code in range(CODES)}
    added = ("<racm3:break>", "<eoss>", "<image>", "<reserved08706>", *codes)
    ids = write_tokenizer(
        directory,
        byte_level(FIRST),
        added=added,
        kind="PreTrainedTokenizerFast",
        prepended="<s>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        sep_token="<reserved08706>",
        unk_token="<unk>",
    )
    write_json(
        directory,
        config={
            "architectures": ["ChameleonForConditionalGeneration"],
            "bos_token_id": 0,
            "eos_token_id": 2,
            "hidden_size": 64,
            "intermediate_size": 160,
            "max_position_embeddings": 4096,
            "model_type": "chameleon",
            "num_attention_heads": 2,
            "num_hidden_layers": 2,
            "num_key_value_heads": 2,
            "pad_token_id": 1,
            "swin_norm": False,
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            "vocab_size": len(ids),
            "vocabulary_map": ids,
            "vq_config": {
                "attn_resolutions": None,
                "base_channels": 32,
                "channel_multiplier": [1, 1, 1, 1, 1],
                "embed_dim": 32,
                "latent_channels": 32,
                "num_embeddings": CODES,
                "num_res_blocks": 1,
                "resolution": SIDE,
            },
        },
        preprocessor_config={
            "crop_size": {"height": SIDE, "width": SIDE},
            "do_center_crop": True,
            "do_convert_rgb": True,
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": [1.0, 1.0, 1.0],
            "image_processor_type": "ChameleonImageProcessor",
            "image_std": [1.0, 1.0, 1.0],
            "processor_class": "ChameleonProcessor",
            "resample": 1,
            "rescale_factor": 0.0078,
            "size": {"shortest_edge": SIDE},
        },
        processor_config={
            "image_seq_length": (SIDE // 16) ** 2,
            "image_token": "<image>",
            "processor_class": "ChameleonProcessor",
        },
        generation_config={"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1},
    )
    write_weights(directory, {})
