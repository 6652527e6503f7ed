"""What the checkpoints of Gemma's families share: tokenizer and template. The tokenizer puts <bos> before a prompt."""

from pathlib import Path

from tests.models.checkpoints.tokenizer import metaspace, write_tokenizer

IDS = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}


def write_gemma_tokenizer(directory: Path, *added: str, **config: object) -> dict[str, int]:
    return write_tokenizer(
        directory,
        metaspace(("<pad>", "<eos>", "<bos>", "<unk>"), prefix=False),
        added=added,
        words=("\n\n", "\n\n\n", "\n\n\n\n"),  # which surround an image
        kind="GemmaTokenizer",
        prepended="<bos>",
        add_bos_token=True,
        add_eos_token=False,
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        pad_token="<pad>",
        **config,
    )
