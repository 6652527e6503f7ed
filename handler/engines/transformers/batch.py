"""What the model remembers of the rows that are decoded together: their keys and values, padded on the left.

A row joins between two steps and leaves when it ends. Layers that attend to images (mllama's cross-attention) keep those of
the images instead, which do not grow: they are padded on the right, by zeros, which add nothing to a row without images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import pad
from transformers.cache_utils import DynamicCache, DynamicLayer

KeysAndValues = tuple[torch.Tensor, torch.Tensor]


@dataclass(slots=True)
class Batch:
    """`mask` is 1 where a column holds a token of the row. `visible` is which tiles of which images the newest token of a
    row sees, for a model with `image_layers`: [rows, 1, images, tiles]."""

    cache: DynamicCache
    mask: torch.Tensor
    visible: torch.Tensor | None = None
    image_layers: frozenset[int] = frozenset()

    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order; one may be repeated."""
        if list(rows) == list(range(len(self.mask))):
            return
        indices = torch.tensor(rows, device=self.mask.device)
        self.cache.batch_select_indices(indices)
        self.mask = self.mask[indices]
        if self.visible is not None:
            self.visible = self.visible[indices]
        self._drop_padding()

    def join(self, other: "Batch") -> None:
        """Add the rows of `other` after these. If memory runs out, this batch is as before."""
        columns = max(self.mask.shape[1], other.mask.shape[1])
        mine, theirs = self._layers(columns), other._layers(columns)  # noqa: SLF001  # of the same class
        cache = DynamicCache()
        for number in range(max(len(mine), len(theirs))):
            first = mine[number] if number < len(mine) else None
            second = theirs[number] if number < len(theirs) else None
            cache.layers.append(_layer(_join(first, second, len(self.mask), len(other.mask))))
        visible = _join_visible(self.visible, other.visible, len(self.mask), len(other.mask))
        mask = torch.cat([_pad_left(self.mask, columns, dim=1), _pad_left(other.mask, columns, dim=1)])
        self.cache, self.visible, self.mask = cache, visible, mask

    def _layers(self, columns: int) -> list[KeysAndValues | None]:
        layers: list[KeysAndValues | None] = []
        for number, layer in enumerate(self.cache.layers):
            if not layer.is_initialized:
                layers.append(None)
            elif number in self.image_layers:
                layers.append((layer.keys, layer.values))
            else:
                layers.append((_pad_left(layer.keys, columns, dim=2), _pad_left(layer.values, columns, dim=2)))
        return layers

    def _drop_padding(self) -> None:
        """Drop the columns that are padding in all rows: the longest row may have left."""
        first = int(self.mask.any(0).int().argmax())
        if not first:
            return
        self.mask = self.mask[:, first:]
        for number, layer in enumerate(self.cache.layers):
            if layer.is_initialized and number not in self.image_layers:
                layer.keys, layer.values = layer.keys[:, :, first:], layer.values[:, :, first:]


def _pad_left(tensor: torch.Tensor, length: int, *, dim: int) -> torch.Tensor:
    missing = length - tensor.shape[dim]
    after = [0, 0] * (tensor.ndim - 1 - dim)
    return pad(tensor, [*after, missing, 0]) if missing else tensor


def _join(first: KeysAndValues | None, second: KeysAndValues | None, rows: int, more: int) -> KeysAndValues | None:
    """The rows of both. Only image layers differ in length here, or are missing where no row has an image."""
    if first is None and second is None:
        return None
    known = first if first is not None else second
    assert known is not None  # noqa: S101  # one of them is there
    first = first or _zeros(known, rows)
    second = second or _zeros(known, more)
    length = max(first[0].shape[2], second[0].shape[2])
    keys, values = (
        torch.cat([pad(one, [0, 0, 0, length - one.shape[2]]) for one in pair])
        for pair in zip(first, second, strict=True)
    )
    return keys, values


def _zeros(like: KeysAndValues, rows: int) -> KeysAndValues:
    keys, values = (tensor.new_zeros((rows, *tensor.shape[1:])) for tensor in like)
    return keys, values


def _join_visible(first: torch.Tensor | None, second: torch.Tensor | None, rows: int, more: int) -> torch.Tensor | None:
    known = first if first is not None else second
    if known is None:
        return None
    first = known.new_zeros((rows, *known.shape[1:])) if first is None else first
    second = known.new_zeros((more, *known.shape[1:])) if second is None else second
    images = max(first.shape[2], second.shape[2])
    return torch.cat([pad(one, [0, 0, 0, images - one.shape[2]]) for one in (first, second)])


def _layer(content: KeysAndValues | None) -> DynamicLayer:
    layer = DynamicLayer()
    if content is not None:
        layer.lazy_initialization(*content)
        layer.keys, layer.values = content
    return layer
