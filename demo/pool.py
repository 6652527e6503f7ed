"""A seed enters; thousands of labeled images leave, as the image processor gives them to the model."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import CLIPImageProcessor

from demo.checkpoint import IMAGE_MEAN, IMAGE_SIZE, IMAGE_STD, image_processor
from demo.images import COLORS, SHAPES, decode, encode, sample

COLOR_NAMES = tuple(COLORS)
_CHUNK = 500


@dataclass(frozen=True)
class Pool:
    """`pixels` is uint8 (n, 3, IMAGE_SIZE, IMAGE_SIZE), not normalised; `colors` and `shapes` are indices (n,)."""

    pixels: NDArray[np.uint8]
    colors: NDArray[np.int64]
    shapes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.colors)


def _chunk(seed: int, index: int) -> Pool:
    torch.set_num_threads(1)
    rng = np.random.default_rng((seed, index))
    processor: CLIPImageProcessor = image_processor()
    pixels = np.empty((_CHUNK, 3, IMAGE_SIZE, IMAGE_SIZE), dtype=np.uint8)
    colors, shapes = np.empty(_CHUNK, dtype=np.int64), np.empty(_CHUNK, dtype=np.int64)
    for i in range(_CHUNK):
        labeled = sample(rng)
        image = decode(encode(labeled.image, rng))
        pixels[i] = processor(image, do_rescale=False, do_normalize=False, return_tensors="np")["pixel_values"][0]
        colors[i], shapes[i] = COLOR_NAMES.index(labeled.color), SHAPES.index(labeled.shape)
    return Pool(pixels, colors, shapes)


def make_pool(count: int, seed: int, processes: int = 2) -> Pool:
    """Every chunk has its own generator, so the number of processes does not change the images."""
    chunks = range(-(-count // _CHUNK))
    with ProcessPoolExecutor(processes) as executor:
        parts = list(executor.map(_chunk, [seed] * len(chunks), chunks))
    return Pool(
        np.concatenate([p.pixels for p in parts])[:count],
        np.concatenate([p.colors for p in parts])[:count],
        np.concatenate([p.shapes for p in parts])[:count],
    )


def augment(pixels: NDArray[np.uint8], rng: np.random.Generator) -> torch.Tensor:
    """Normalised float32 (n, 3, s, s): mirrored and shifted by up to three pixels, in eight groups to keep it cheap."""
    parts: list[torch.Tensor] = []
    for group in np.array_split(pixels, min(8, len(pixels))):
        faced = group[..., ::-1] if rng.random() < 0.5 else group
        top, left = rng.integers(0, 7, 2)
        padded = np.pad(faced, ((0, 0), (0, 0), (3, 3), (3, 3)), mode="edge")
        parts.append(torch.from_numpy(padded[..., top : top + IMAGE_SIZE, left : left + IMAGE_SIZE].copy()))
    return normalize(torch.cat(parts))


def normalize(pixels: torch.Tensor) -> torch.Tensor:
    mean, std = torch.tensor(IMAGE_MEAN).view(3, 1, 1), torch.tensor(IMAGE_STD).view(3, 1, 1)
    return (pixels.float() / 255 - mean) / std


def shuffle_indices(count: int, batch: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Endless batches of indices, each index once per epoch."""
    while True:
        order = rng.permutation(count)
        for start in range(0, count - batch + 1, batch):
            yield order[start : start + batch]
