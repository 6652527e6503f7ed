"""Chat templates of families whose older checkpoints ship none. Each gives what the authors' code and model cards write."""

import re
from pathlib import Path
from typing import Any

# The model type of a checkpoint, and that of its language model (None: any) -> a file here. Sources, read 2026-11-21: the
# model cards of llava-hf/llava-1.5-7b-hf, llava-hf/llava-v1.6-mistral-7b-hf, llava-hf/llava-v1.6-vicuna-7b-hf,
# microsoft/Phi-3-vision-128k-instruct, adept/fuyu-8b, facebook/chameleon-7b and google/paligemma-3b-pt-224, whose newer revisions have templates of
# the same text where they have one.
_FILES: dict[tuple[str, str | None], str] = {
    ("llava", "llama"): "llava.jinja",
    ("llava_next", "llama"): "llava_next_vicuna.jinja",
    ("llava_next", "mistral"): "llava_next_mistral.jinja",
    ("phi3_v", None): "phi3_v.jinja",
    ("fuyu", None): "fuyu.jinja",
    ("chameleon", None): "chameleon.jinja",
    ("paligemma", None): "paligemma.jinja",
}


def family_template(config: Any) -> str | None:
    """The chat template for a checkpoint with `config`, a transformers configuration; None if its family has none here."""
    language = getattr(getattr(config, "text_config", None), "model_type", None)
    file = family_file(config.model_type, language)
    return None if file is None else (Path(__file__).parent / file).read_text()


def words_of(template: str | None) -> frozenset[str]:
    """The words of a chat template: it does nothing with what it does not name."""
    return frozenset(re.findall(r"\w+", template or ""))


def family_file(model_type: str, language: str | None) -> str | None:
    """The name of that template, for the type of a checkpoint and that of its language model."""
    return _FILES.get((model_type, language)) or _FILES.get((model_type, None))
