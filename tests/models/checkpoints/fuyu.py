"""As adept/fuyu-8b: patches of one image go straight into Persimmon. It ships no chat template."""

import json
from pathlib import Path

from tests.models.checkpoints.files import HALF, image_steps, write_json
from tests.models.checkpoints.tokenizer import metaspace, write_tokenizer
from tests.models.checkpoints.weights import write_weights

SIDE, PATCH = 90, 30
PLACEHOLDERS = ("|SPEAKER|", "|NEWLINE|")
NAMES = {
    r"lm_head\.": "language_model.lm_head.",
    r"model\.language_model\.": "language_model.model.",
    r"model\.vision_embed_tokens\.": "vision_embed_tokens.",
}
TEXT = {
    "hidden_act": "relu2",
    "hidden_size": 64,
    "intermediate_size": 160,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 4096,
    "model_type": "persimmon",
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "partial_rotary_factor": 0.5,
    "qk_layernorm": True,
    "rope_theta": 25000.0,
}


def build(directory: Path) -> None:
    ids = write_tokenizer(
        directory,
        metaspace(("<unk>", "<s>", "</s>"), prefix=True),
        added=(*PLACEHOLDERS, "|ENDOFTEXT|"),
        kind="PreTrainedTokenizerFast",
        prepended="<s>",
        bos_token="<s>",
        eos_token="|ENDOFTEXT|",
        unk_token="<unk>",
    )
    _make_words(directory / "tokenizer.json")
    size = len(ids)
    own = {name: TEXT[name] for name in ("hidden_size", "intermediate_size", "max_position_embeddings")}
    write_json(
        directory,
        config={
            "architectures": ["FuyuForCausalLM"],
            "bos_token_id": 1,
            "eos_token_id": ids["|ENDOFTEXT|"],
            "image_size": SIDE,
            "image_token_id": ids["|SPEAKER|"],
            "model_type": "fuyu",
            "num_attention_heads": 2,
            "num_channels": 3,
            "num_hidden_layers": 2,
            "patch_size": PATCH,
            "text_config": {**TEXT, "bos_token_id": 1, "eos_token_id": ids["|ENDOFTEXT|"], "vocab_size": size},
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            "vocab_size": size,
            **own,
        },
        preprocessor_config=image_steps(
            HALF,
            HALF,
            do_pad=True,
            image_processor_type="FuyuImageProcessor",
            padding_mode="constant",
            padding_value=1.0,
            patch_size={"height": PATCH, "width": PATCH},
            processor_class="FuyuProcessor",
            resample=2,
            size={"height": 3 * SIDE, "width": 4 * SIDE},
        ),
        generation_config={"bos_token_id": 1, "eos_token_id": ids["|ENDOFTEXT|"]},
    )
    write_weights(directory, NAMES)


def _make_words(file: Path) -> None:
    """The placeholders are words of the vocabulary, not special tokens: a blank stands before them as before every text,
    which the processor expects and takes off."""
    content = json.loads(file.read_text())
    words = [token for token in content["added_tokens"] if token["content"] in PLACEHOLDERS]
    content["added_tokens"] = [token for token in content["added_tokens"] if token not in words]
    content["model"]["vocab"] |= {word["content"]: word["id"] for word in words}
    content["model"]["ignore_merges"] = True
    alone = {"type": "Split", "pattern": {"Regex": r"\|[A-Z]+\|"}, "behavior": "Isolated", "invert": False}
    content["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [alone, content["pre_tokenizer"]]}
    file.write_text(json.dumps(content))
