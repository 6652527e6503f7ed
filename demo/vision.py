"""A model with random weights enters; one whose vision tower tells colors and shapes apart leaves."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import LlavaForConditionalGeneration

from demo.images import COLORS, SHAPES
from demo.optimizer import Optimizer
from demo.pool import Pool, augment, shuffle_indices

_BATCH = 64


def image_embeddings(model: LlavaForConditionalGeneration, pixels: Tensor) -> Tensor:
    """float32 (n, 3, s, s) -> (n, IMAGE_TOKENS, width), as the language model receives them."""
    found = model.model.get_image_image_embeddings(
        pixels, vision_feature_layer=-1, vision_feature_select_strategy="default", return_dict=True
    )
    return torch.stack(list(found.pooler_output))


def pretrain(model: LlavaForConditionalGeneration, pool: Pool, steps: int, seed: int) -> None:
    """Without this stage the language model learns colors, counting and order, but guesses shapes."""
    width = model.config.text_config.hidden_size
    # Thrown away after this stage.
    heads = nn.ModuleDict({"color": nn.Linear(width, len(COLORS)), "shape": nn.Linear(width, len(SHAPES))})
    optimizer = Optimizer(
        [(model.model.vision_tower, 1.0), (model.model.multi_modal_projector, 1.0), (heads, 1.0)], steps
    )
    rng = np.random.default_rng((seed, 2))
    for step, batch in zip(range(1, steps + 1), shuffle_indices(len(pool), _BATCH, rng), strict=False):
        pooled = image_embeddings(model, augment(pool.pixels[batch], rng)).mean(1)
        loss = cross_entropy(heads["color"](pooled), torch.from_numpy(pool.colors[batch]))
        loss = loss + cross_entropy(heads["shape"](pooled), torch.from_numpy(pool.shapes[batch]))
        optimizer.update(loss)
        if step % 500 == 0:
            print(f"vision   {step:5d}/{steps}  loss {loss.item():.4f}", flush=True)
