"""As mistralai/Pixtral-12B-2409: Mistral's own form of Pixtral, for mistral_common. transformers has the other form, of which
the same weights are the reference."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import pre_tokenizers

from tests.models.checkpoints import pixtral
from tests.models.checkpoints.files import write_json
from tests.models.checkpoints.mistral import FIRST, IMAGE_ID, TEXT, VISION

# The words of ByteLevel, whose tokenizer the reference has. The hub's pattern splits some of them further.
PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# transformers' names -> Mistral's, with the layers of both towers alike
NAMES = {
    r"language_model\.model\.embed_tokens\.": "tok_embeddings.",
    r"language_model\.model\.norm\.": "norm.",
    r"language_model\.lm_head\.": "output.",
    r"language_model\.model\.layers\.": "layers.",
    r"vision_tower\.transformer\.layers\.": "vision_encoder.transformer.layers.",
    r"vision_tower\.": "vision_encoder.",
    r"multi_modal_projector\.linear_1\.": "vision_language_adapter.w_in.",
    r"multi_modal_projector\.linear_2\.": "vision_language_adapter.w_out.",
}
LAYER_NAMES = {
    r"\.(self_attn|attention)\.([qkvo])_proj\.": r".attention.w\2.",
    r"\.(mlp|feed_forward)\.gate_proj\.": ".feed_forward.w1.",
    r"\.(mlp|feed_forward)\.down_proj\.": ".feed_forward.w2.",
    r"\.(mlp|feed_forward)\.up_proj\.": ".feed_forward.w3.",
    r"\.input_layernorm\.": ".attention_norm.",
    r"\.post_attention_layernorm\.": ".ffn_norm.",
}


def build(directory: Path) -> None:
    pixtral.build(_made(reference(directory)))
    _use_silu(reference(directory) / "config.json")
    words = _order_bytes(reference(directory) / "tokenizer.json")
    write_json(
        directory,
        params={
            "dim": TEXT["hidden_size"],
            "n_layers": TEXT["num_hidden_layers"],
            "head_dim": TEXT["head_dim"],
            "hidden_dim": TEXT["intermediate_size"],
            "n_heads": TEXT["num_attention_heads"],
            "n_kv_heads": TEXT["num_key_value_heads"],
            "rope_theta": TEXT["rope_theta"],
            "norm_eps": TEXT["rms_norm_eps"],
            "vocab_size": len(words) + len(FIRST),
            "vision_encoder": {
                "adapter_bias": True,
                "hidden_size": VISION["hidden_size"],
                "image_size": pixtral.SIDE,
                "image_token_id": IMAGE_ID,
                "intermediate_size": VISION["intermediate_size"],
                "num_attention_heads": VISION["num_attention_heads"],
                "num_channels": 3,
                "num_hidden_layers": VISION["num_hidden_layers"],
                "patch_size": pixtral.PATCH,
                "rope_theta": VISION["rope_theta"],
            },
        },
        tekken=_tekken(words),
    )
    tensors = load_file(reference(directory) / "model.safetensors")
    named = {_rename(name): _interleave(name, tensor).contiguous() for name, tensor in tensors.items()}
    save_file(named, directory / "consolidated.safetensors", metadata={"format": "pt"})


def reference(directory: Path) -> Path:
    """Where `build` writes the form that transformers has."""
    return directory.with_name(f"{directory.name}-reference")


def _made(directory: Path) -> Path:
    directory.mkdir(exist_ok=True)
    return directory


def _use_silu(path: Path) -> None:
    """Give the tower in the config at `path` the activation that Mistral's own form always has."""
    config = json.loads(path.read_text())
    config["vision_config"]["hidden_act"] = "silu"
    path.write_text(json.dumps(config))


def _order_bytes(path: Path) -> list[bytes]:
    """Give the single bytes of the tokenizer in `path` the first ids after the special tokens, in order, as Tekken has them.
    Returns the tokens that are not special, by id."""
    tokenizer = json.loads(path.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    bytes_of = _bytes_of_letters()
    letters = sorted(bytes_of, key=bytes_of.__getitem__)
    vocabulary |= {letter: len(FIRST) + value for value, letter in enumerate(letters)}
    path.write_text(json.dumps(tokenizer, ensure_ascii=False))
    words = sorted(vocabulary.keys() - set(FIRST), key=vocabulary.__getitem__)
    return [bytes(bytes_of[letter] for letter in word) for word in words]


def _bytes_of_letters() -> dict[str, int]:
    """The byte that each letter of ByteLevel stands for: itself where it can be printed, the others in order from 256 on."""
    letters = set(pre_tokenizers.ByteLevel.alphabet())
    others = [value for value in range(256) if chr(value) not in letters]
    return {chr(256 + others.index(value) if value in others else value): value for value in range(256)}


def _tekken(words: list[bytes]) -> dict[str, Any]:
    vocabulary = [
        {"rank": rank, "token_bytes": base64.b64encode(word).decode(), "token_str": word.decode(errors="replace")}
        for rank, word in enumerate(words)
    ]
    special = [{"rank": rank, "token_str": token, "is_control": True} for rank, token in enumerate(FIRST)]
    config = {
        "default_num_special_tokens": len(FIRST),
        "default_vocab_size": len(FIRST) + len(words),
        "num_vocab_tokens": len(words),
        "pattern": PATTERN,
        "version": "v3",
    }
    image = {"image_patch_size": pixtral.PATCH, "max_image_size": pixtral.SIDE}
    return {"config": config, "vocab": vocabulary, "special_tokens": special, "multimodal": image}


def _rename(name: str) -> str:
    for pattern, hub in NAMES.items():
        name = re.sub(f"^{pattern}", hub, name)
    for pattern, hub in LAYER_NAMES.items():
        name = re.sub(pattern, hub, name)
    return name


def _interleave(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Mistral rotates neighbouring values of queries and keys, transformers those half a head apart."""
    if not re.search(r"\.[qk]_proj\.", name):
        return tensor
    return tensor.unflatten(0, (-1, 2, TEXT["head_dim"] // 2)).transpose(1, 2).flatten(0, 2)
