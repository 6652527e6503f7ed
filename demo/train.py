"""Nothing but a seed enters; the checkpoint in demo/model leaves. `python -m demo.train`."""

import argparse
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from demo.batches import Batch, Batches
from demo.checkpoint import export, make_model
from demo.dialogs import Message, sample_dialog
from demo.optimizer import Optimizer
from demo.pool import Pool, make_pool
from demo.tokenizer import train_tokenizer
from demo.vision import pretrain

MODEL = Path(__file__).parent / "model"
_BATCH = 40
_TOKENIZER_DIALOGS = 20_000
# The tower is trained already; the full rate would undo that.
_VISION_RATE = 0.3


def message_texts(messages: list[Message]) -> Iterator[str]:
    for message in messages:
        parts = message["content"]
        yield from [parts] if isinstance(parts, str) else [part["text"] for part in parts if part["type"] == "text"]


def make_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    rng = np.random.default_rng((seed, 1))
    return train_tokenizer(
        [text for _ in range(_TOKENIZER_DIALOGS) for text in message_texts(sample_dialog(rng).messages)]
    )


def answer_loss(model: LlavaForConditionalGeneration, batch: Batch) -> torch.Tensor:
    """Weighted cross-entropy of the answers; the head is applied only where a token counts."""
    states = model.model(input_ids=batch.ids, pixel_values=batch.pixels, use_cache=False).last_hidden_state
    weights = batch.weights[:, 1:]
    counts = weights > 0
    losses = cross_entropy(model.lm_head(states[:, :-1][counts]), batch.ids[:, 1:][counts], reduction="none")
    chosen = weights[counts]
    return (losses * chosen).sum() / chosen.sum()


def train_on_dialogs(
    model: LlavaForConditionalGeneration, pool: Pool, tokenizer: PreTrainedTokenizerFast, steps: int, seed: int
) -> None:
    """The joint stage: every weight trains."""
    whole = model.model
    optimizer = Optimizer(
        [
            (whole.vision_tower, _VISION_RATE),
            (whole.multi_modal_projector, _VISION_RATE),
            (whole.language_model, 1.0),
            (model.lm_head, 1.0),
        ],
        steps,
    )
    for step, batch in zip(range(1, steps + 1), Batches(pool, tokenizer, _BATCH, seed), strict=False):
        loss = answer_loss(model, batch)
        optimizer.update(loss)
        if step % 100 == 0:
            print(f"dialogs  {step:5d}/{steps}  loss {loss.item():.4f}", flush=True)


def replace_checkpoint(
    directory: Path, model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerFast
) -> None:
    """Write beside the old directory, then swap, so that no reader sees half a checkpoint."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent) as scratch:
        export(model, tokenizer, Path(scratch) / "new")
        if directory.exists():
            directory.rename(Path(scratch) / "old")
        shutil.move(Path(scratch) / "new", directory)
        directory.chmod(0o755)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=MODEL)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=int, default=40_000)
    parser.add_argument("--vision-steps", type=int, default=3500)
    parser.add_argument("--dialog-steps", type=int, default=2000)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    started = time.monotonic()

    def report(what: str) -> None:
        print(f"{time.monotonic() - started:6.0f} s  {what}", flush=True)

    pool = make_pool(chosen.pictures, chosen.seed)
    report(f"{len(pool)} images drawn")
    tokenizer = make_tokenizer(chosen.seed)
    model = make_model(chosen.seed)
    pretrain(model, pool, chosen.vision_steps, chosen.seed)
    report("vision pretrained")
    train_on_dialogs(model, pool, tokenizer, chosen.dialog_steps, chosen.seed)
    report("dialogs learned")
    replace_checkpoint(chosen.out, model, tokenizer)
    report(f"written to {chosen.out}")


if __name__ == "__main__":
    main()
