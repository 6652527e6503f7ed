"""A directory with a config enters; random weights under the names of the hub's checkpoints are added."""

import math
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForImageTextToText

SEED = 5


def write_weights(directory: Path, names: Mapping[str, str]) -> None:
    """Write model.safetensors for the config in `directory`.

    `names` are patterns of transformers' names and what the hub has instead; the first that matches the beginning counts.
    """
    config = AutoConfig.from_pretrained(directory)
    config.dtype = torch.float32
    torch.manual_seed(SEED)
    model = AutoModelForImageTextToText.from_config(config)
    randomise(model)
    tied = set(model.all_tied_weights_keys)
    tensors = {
        _rename(name, names): tensor.contiguous().clone()
        for name, tensor in model.state_dict().items()
        if name not in tied
    }
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


def randomise(model: torch.nn.Module) -> None:
    """Give every parameter a value that counts: with zero biases and unit norms, one that is not loaded is not missed."""
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if weight.dim() < 2:
                # A norm's weight is near one, or near zero where the model adds the one.
                weight.copy_(weight.mean() + 0.1 * noise)
            elif "embed" in name or "lm_head" in name:
                weight.copy_(noise * (0.5 if "lm_head" in name else 0.1))
            else:
                weight.copy_(noise / math.sqrt(weight[0].numel()))


def _rename(name: str, names: Mapping[str, str]) -> str:
    for pattern, hub in names.items():
        renamed, count = re.subn(f"^{pattern}", hub, name, count=1)
        if count:
            return renamed
    return name
