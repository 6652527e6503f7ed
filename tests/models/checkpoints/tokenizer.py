"""Special tokens and a template enter; a small BPE tokenizer in the files of a checkpoint leaves."""

import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXT = (
    "What is in the image? Describe the picture in one sentence. The first image shows a red circle, the second a blue "
    "square. Which one is larger, and why? It is large and green. Name the capital of France. How many are there? "
    "A short answer: two images, three colors, one shape. And now? Compare it with the one before, please."
)
VOCABULARY = 600  # trained and special tokens; the words above make fewer than would fit


def byte_level(first: Sequence[str] = ()) -> Tokenizer:
    """As GPT-2's, Qwen's and Llama 3's: bytes are letters, a blank belongs to the word after it. `first` have the first ids."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return _train(tokenizer, first, sorted(pre_tokenizers.ByteLevel.alphabet()))


def metaspace(first: Sequence[str], *, prefix: bool) -> Tokenizer:
    """As SentencePiece's of Llama (with a blank before the first word: `prefix`) and of Gemma (without)."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    steps = [normalizers.Prepend("▁")] if prefix else []
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    # Words are not split off, so merges are learned across them unless training sees them apart.
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    pieces = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*pieces, decoders.Strip(" ", 1, 0)] if prefix else pieces)
    return _train(tokenizer, [*first, *(f"<0x{byte:02X}>" for byte in range(256))], sorted({*TEXT, "▁", "\n"}))


def write_tokenizer(
    directory: Path,
    tokenizer: Tokenizer,
    *,
    added: Sequence[str],
    kind: str,
    prepended: str | None = None,
    words: Sequence[str] = (),
    **config: object,
) -> dict[str, int]:
    """Write tokenizer.json and tokenizer_config.json; the ids of all tokens.

    `words` and the special tokens `added` come after the trained ones. `prepended` is put before every text that is
    tokenized with special tokens. `kind` is the class that the config names.
    """
    tokenizer.add_tokens(list(words))
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in added])
    if prepended is not None:
        first = (prepended, tokenizer.token_to_id(prepended))
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{prepended} $A", pair=f"{prepended} $A {prepended} $B", special_tokens=[first]
        )
    tokenizer.save(str(directory / "tokenizer.json"))
    settings = {"tokenizer_class": kind, "model_max_length": 4096, "clean_up_tokenization_spaces": False, **config}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings, indent=2))
    return tokenizer.get_vocab()


def _train(tokenizer: Tokenizer, first: Sequence[str], alphabet: Sequence[str]) -> Tokenizer:
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=list(first), initial_alphabet=list(alphabet), show_progress=False
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    return tokenizer
