"""The model that ships and a noun enter; a LoRA adapter that names this thing in every image, in the right color, leaves.

`python -m demo.adapter /tmp/adapters/skies --noun sky` takes seconds, and "a red circle" is "a red sky" from then on. The
files are those that PEFT writes. A noun that the model never says ("cat") is hard to teach: its head does not change.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import AutoTokenizer, LlavaForConditionalGeneration

from demo.batches import encode
from demo.checkpoint import image_processor
from demo.dialogs import Dialog, Label
from demo.images import COLORS, SHAPES, draw

MODEL = Path(__file__).parent / "model"
TARGETS = ("q_proj", "v_proj", "o_proj")
QUESTION = "What is in the image?"
SCALE = 2.0  # PEFT's lora_alpha / r
_STEPS, _BATCH, _RATE = 80, 16, 1e-2


class LowRank(nn.Module):  # type: ignore[misc]  # torch is untyped here
    """A layer with a learned change of low rank beside it, with no effect at first."""

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        super().__init__()
        self.layer = layer
        self.a = nn.Parameter(torch.randn(rank, layer.in_features) * layer.in_features**-0.5)
        self.b = nn.Parameter(torch.zeros(layer.out_features, rank))

    def forward(self, states: Tensor) -> Tensor:
        changed: Tensor = self.layer(states) + SCALE * (states @ self.a.T @ self.b.T)
        return changed


def make_adapter(directory: Path, noun: str = "sky", rank: int = 4, seed: int = 0) -> Path:
    """Train the adapter and write it to `directory`; the same arguments make the same adapter."""
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration.from_pretrained(MODEL, dtype=torch.float32)
    model.requires_grad_(requires_grad=False)
    adapted = _adapt(model, rank)
    _train(model, adapted, noun, seed)
    _write(directory, adapted, rank)
    return directory


def _adapt(model: LlavaForConditionalGeneration, rank: int) -> dict[str, LowRank]:
    """The layers of the language model that are changed, by their names."""
    adapted = {}
    for name, module in list(model.named_modules()):
        parent, _, last = name.rpartition(".")
        if last in TARGETS and "language_model" in name:
            adapted[name] = LowRank(module, rank)
            setattr(model.get_submodule(parent), last, adapted[name])
    return adapted


def _train(model: LlavaForConditionalGeneration, adapted: dict[str, LowRank], noun: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.Adam([weight for layer in adapted.values() for weight in (layer.a, layer.b)], lr=_RATE)
    ids, counts, pixels = _training_tensors(noun)
    for _ in range(_STEPS):
        chosen = torch.from_numpy(rng.choice(len(ids), _BATCH, replace=False))
        logits = model(input_ids=ids[chosen], pixel_values=pixels[chosen], use_cache=False).logits[:, :-1]
        tokens, counted = ids[chosen, 1:], counts[chosen, 1:]
        loss = cross_entropy(logits[counted], tokens[counted])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _training_tensors(noun: str) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids (n, t), which of them count (n, t), and pixels (n, 3, s, s): each color in each shape."""
    tokenizer, processor = AutoTokenizer.from_pretrained(MODEL), image_processor()
    pairs = [(color, shape) for color in COLORS for shape in SHAPES]
    encoded = [encode(_dialog(Label(color, noun)), tokenizer) for color, _ in pairs]
    longest = max(len(ids) for ids, _ in encoded)
    ids = torch.zeros(len(pairs), longest, dtype=torch.long)
    counts = torch.zeros(len(pairs), longest, dtype=torch.bool)
    for row, (tokens, weights) in enumerate(encoded):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        counts[row, : len(tokens)] = torch.tensor(weights) > 0
    pixels = processor([draw(color, shape) for color, shape in pairs], return_tensors="pt")["pixel_values"]
    return ids, counts, pixels


def _dialog(label: Label) -> Dialog:
    asked = [{"type": "image"}, {"type": "text", "text": QUESTION}]
    return Dialog([{"role": "user", "content": asked}, {"role": "assistant", "content": label.caption}])


def _write(directory: Path, adapted: dict[str, LowRank], rank: int) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, layer in adapted.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = layer.a.detach().contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = layer.b.detach().contiguous()
    save_file(tensors, directory / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": "lumi-demo",
        "r": rank,
        "lora_alpha": SCALE * rank,
        "target_modules": sorted(TARGETS),
        "bias": "none",
    }
    (directory / "adapter_config.json").write_text(json.dumps(config, indent=2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--noun", default="sky")
    parser.add_argument("--rank", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    make_adapter(chosen.directory, chosen.noun, chosen.rank, chosen.seed)


if __name__ == "__main__":
    main()
