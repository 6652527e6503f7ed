"""A model with random weights enters; one whose vision tower tells colors and shapes apart leaves."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import LlavaForConditionalGeneration

from demo.optimizer import Optimizer
from demo.pictures import COLORS, SHAPES
from demo.pool import Pool, augmented, shuffled

_BATCH = 64


def features(model: LlavaForConditionalGeneration, pixels: Tensor) -> Tensor:
    """float32 (n, 3, s, s) -> (n, IMAGE_TOKENS, width), as the language model will get them."""
    found = model.model.get_image_features(
        pixels, vision_feature_layer=-1, vision_feature_select_strategy="default", return_dict=True
    )
    return torch.stack(list(found.pooler_output))


def pretrain(model: LlavaForConditionalGeneration, pool: Pool, steps: int, seed: int) -> None:
    """Without this stage the language model learns colors, counting and order, but shapes only by guessing."""
    width = model.config.text_config.hidden_size
    # Thrown away after this stage.
    heads = nn.ModuleDict({"color": nn.Linear(width, len(COLORS)), "shape": nn.Linear(width, len(SHAPES))})
    optimizer = Optimizer(
        [(model.model.vision_tower, 1.0), (model.model.multi_modal_projector, 1.0), (heads, 1.0)], steps
    )
    rng = np.random.default_rng((seed, 2))
    for step, batch in zip(range(1, steps + 1), shuffled(len(pool), _BATCH, rng), strict=False):
        seen = features(model, augmented(pool.pixels[batch], rng)).mean(1)
        loss = cross_entropy(heads["color"](seen), torch.from_numpy(pool.colors[batch]))
        loss = loss + cross_entropy(heads["shape"](seen), torch.from_numpy(pool.shapes[batch]))
        optimizer.update(loss)
        if step % 500 == 0:
            print(f"vision   {step:5d}/{steps}  loss {loss.item():.4f}", flush=True)
