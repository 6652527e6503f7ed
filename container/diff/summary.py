"""Tensors of processed images -> what can be compared of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

FEW = 12  # elements: a grid is shown, pixels are not


@dataclass(frozen=True, slots=True)
class Summary:
    """Of all images together: the shapes of their tensors, and the mean and the standard deviation of the elements. `values`
    are the elements, if they are few."""

    shapes: tuple[tuple[int, ...], ...]
    elements: int
    mean: float
    deviation: float
    values: tuple[float, ...] = ()

    def is_close(self, other: "Summary") -> bool:
        """Whether both are of the same elements, within what the order of float sums does. One engine may keep images in
        a tensor each and the other all in one, so that shapes do not count."""
        if self.values or other.values:
            return self.values == other.values
        gap = max(abs(self.mean - other.mean), abs(self.deviation - other.deviation))
        return self.elements == other.elements and gap <= 1e-4 * max(1.0, abs(self.mean), self.deviation)

    def __str__(self) -> str:
        shapes = ", ".join(str(list(shape)) for shape in self.shapes)
        if self.values:
            return f"{shapes}: {', '.join(f'{value:g}' for value in self.values)}"
        return f"{shapes}: mean {self.mean:.5f}, deviation {self.deviation:.5f}"


def summarize(tensors: Sequence[Any]) -> Summary:
    """`tensors` are torch's, or numbers and lists that it makes tensors of."""
    import torch  # noqa: PLC0415  # its import takes seconds, and other commands do without

    parts = [torch.as_tensor(tensor) for tensor in tensors]
    every = torch.cat([part.flatten().double() for part in parts]) if parts else torch.zeros(0, dtype=torch.double)
    few = every.numel() <= FEW
    return Summary(
        shapes=tuple(tuple(part.shape) for part in parts),
        elements=every.numel(),
        mean=float(every.mean()) if every.numel() else 0.0,
        deviation=float(every.std(correction=0)) if every.numel() else 0.0,
        values=tuple(every.tolist()) if few else (),
    )
