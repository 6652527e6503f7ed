"""A color, a shape and a position enter; an image that shows exactly that leaves."""

import io
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

RGB = tuple[int, int, int]
Points = list[tuple[float, float]]

# The first value of each is what `draw` uses; the others are what "red" or "green" may look like as well.
COLORS: dict[str, tuple[RGB, ...]] = {
    "red": ((255, 0, 0), (215, 25, 35), (190, 20, 20)),
    "green": ((0, 128, 0), (0, 220, 0), (40, 160, 60), (0, 180, 80)),
    "blue": ((0, 0, 255), (30, 70, 210), (60, 110, 230), (0, 0, 140)),
    "yellow": ((255, 255, 0), (240, 220, 40)),
    "orange": ((255, 140, 0), (255, 165, 0), (240, 125, 25)),
    "purple": ((128, 0, 128), (145, 50, 185), (110, 20, 150)),
    "black": ((0, 0, 0), (25, 25, 25)),
    "white": ((255, 255, 255), (235, 235, 235)),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")

RADIUS = (0.25, 0.48)  # of the short side
SHORT_SIDE = (48, 360)  # pixels
MAX_ASPECT = 2.0
_MIN_CONTRAST = 95.0  # RGB distance between a shape and what is behind it
_RING_HOLE = 0.55


@dataclass(frozen=True)
class LabeledImage:
    """An image and what is on it."""

    color: str
    shape: str
    image: Image.Image


def _polar_points(angles: list[float], radii: list[float]) -> Points:
    return [(r * math.sin(math.radians(a)), -r * math.cos(math.radians(a))) for a, r in zip(angles, radii, strict=True)]


def outline(shape: str, radius: float, angle: float = 0.0) -> Points:
    """The corners of a shape around (0, 0), y downwards, turned clockwise by `angle` degrees."""
    if shape in ("circle", "ring"):
        return _polar_points([5.0 * i for i in range(72)], [radius] * 72)
    if shape == "square":
        return _polar_points([45 + 90 * i + angle for i in range(4)], [1.2 * radius] * 4)
    if shape == "triangle":
        return _polar_points([120 * i + angle for i in range(3)], [1.1 * radius] * 3)
    if shape == "star":
        return _polar_points([36 * i + angle for i in range(10)], [1.05 * radius, 0.44 * radius] * 5)
    if shape == "cross":
        arm, reach = 0.34, 0.98
        tip, inner = math.hypot(arm, reach), math.hypot(arm, arm)
        lean = math.degrees(math.atan2(arm, reach))
        angles = [90 * i + a + angle for i in range(4) for a in (-lean, lean, 45.0)]
        return _polar_points(angles, [tip * radius, tip * radius, inner * radius] * 4)
    raise ValueError(f"unknown shape {shape!r}: one of {', '.join(SHAPES)}")


def _center_range(points: Points, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The range of the center in which every point is inside: left, right, top, bottom."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    return -min(xs), size[0] - max(xs), -min(ys), size[1] - max(ys)


def _mask(shape: str, points: Points, center: tuple[float, float], size: tuple[int, int]) -> Image.Image:
    """How much of each pixel the shape covers (mode L), drawn larger and averaged down."""
    scale = 4 if min(size) < 120 else 2
    mask = Image.new("L", (size[0] * scale, size[1] * scale))
    brush = ImageDraw.Draw(mask)
    x0, y0 = center
    brush.polygon([((x0 + x) * scale - 0.5, (y0 + y) * scale - 0.5) for x, y in points], fill=255)
    if shape == "ring":
        hole = [((x0 + x * _RING_HOLE) * scale - 0.5, (y0 + y * _RING_HOLE) * scale - 0.5) for x, y in points]
        brush.polygon(hole, fill=0)
    return mask.reduce(scale)


def draw(
    color: str,
    shape: str,
    *,
    size: tuple[int, int] = (224, 224),
    center: tuple[float, float] | None = None,
    radius: float | None = None,
    angle: float = 0.0,
    background: RGB | None = None,
    rgb: RGB | None = None,
) -> Image.Image:
    """A clean image of one shape; the same arguments give the same pixels.

    `size` is (width, height) and `center` is (x, y) in pixels, by default the middle. `radius` is in pixels, by default
    0.36 of the short side. The background is white, or grey behind a white shape. `rgb` replaces the usual value of
    the color.
    Raises ValueError if the shape does not fit into the image.
    """
    if color not in COLORS:
        raise ValueError(f"unknown color {color!r}: one of {', '.join(COLORS)}")
    points = outline(shape, 0.36 * min(size) if radius is None else radius, angle)
    left, right, top, bottom = _center_range(points, size)
    x, y = center or (size[0] / 2, size[1] / 2)
    slack = 1e-6
    if not (left - slack <= x <= right + slack and top - slack <= y <= bottom + slack):
        raise ValueError(f"the {shape} at ({x:g}, {y:g}) does not fit into {size[0]}x{size[1]}")
    image = Image.new("RGB", size, background or ((110, 110, 110) if color == "white" else (255, 255, 255)))
    image.paste(rgb or COLORS[color][0], (0, 0, *size), _mask(shape, points, (x, y), size))
    return image


def _sample_center(rng: np.random.Generator, low: float, high: float) -> float:
    # One in five lies exactly at an edge.
    return low + (high - low) * float(np.clip(rng.uniform(-0.125, 1.125), 0, 1))


def _background(rng: np.random.Generator, rgb: RGB, clean: bool) -> RGB:
    """A grey, slightly tinted unless clean, that the shape stands out from."""
    while True:
        grey = float(rng.choice([255, 255, 255, 0, 40, 128, 192, 230])) if clean else rng.uniform(0, 255)
        tint = np.zeros(3) if clean else rng.uniform(-22, 22, 3)
        found = np.clip(grey + tint, 0, 255)
        if np.linalg.norm(found - np.array(rgb)) >= _MIN_CONTRAST:
            return int(found[0]), int(found[1]), int(found[2])


def _add_light_and_noise(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    """Uneven light (a linear gradient) and the noise of a sensor."""
    width, height = image.size
    dx, dy = rng.uniform(-28, 28, 2)
    light = np.linspace(-dx, dx, width, dtype=np.float32) + np.linspace(-dy, dy, height, dtype=np.float32)[:, None]
    light /= 2
    light += rng.standard_normal((height, width), dtype=np.float32) * np.float32(rng.uniform(0, 14))
    pixels = np.asarray(image, dtype=np.float32) + light[:, :, None]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def sample(rng: np.random.Generator, color: str | None = None, shape: str | None = None) -> LabeledImage:
    """A random image, the shape anywhere inside; three in ten are clean, the others look like photographs."""
    color = color or str(rng.choice(list(COLORS)))
    shape = shape or str(rng.choice(SHAPES))
    short = math.exp(rng.uniform(math.log(SHORT_SIDE[0]), math.log(SHORT_SIDE[1])))
    long = short * (1.0 if rng.random() < 0.25 else rng.uniform(1.0, MAX_ASPECT))
    size = (round(long), round(short)) if rng.random() < 0.5 else (round(short), round(long))
    clean = rng.random() < 0.3
    angle = 0.0 if clean else rng.uniform(-12, 12)
    radius = rng.uniform(*RADIUS) * min(size)
    left, right, top, bottom = _center_range(outline(shape, radius, angle), size)
    if left > right or top > bottom:  # a turned shape of the largest radius
        radius *= 0.85
        left, right, top, bottom = _center_range(outline(shape, radius, angle), size)
    center = (_sample_center(rng, left, right), _sample_center(rng, top, bottom))
    shades = COLORS[color]
    base = shades[0] if clean else shades[rng.integers(len(shades))]
    red, green, blue = (int(v) for v in np.clip(np.array(base) + (0 if clean else rng.uniform(-18, 18, 3)), 0, 255))
    rgb = (red, green, blue)
    image = draw(
        color,
        shape,
        size=size,
        center=center,
        radius=radius,
        angle=angle,
        background=_background(rng, rgb, clean),
        rgb=rgb,
    )
    return LabeledImage(color, shape, image if clean else _add_light_and_noise(rng, image))


def encode(image: Image.Image, rng: np.random.Generator | None = None) -> bytes:
    """The bytes of a file: PNG, or with an rng mostly a JPEG of quality 45 to 95."""
    buffer = io.BytesIO()
    if rng is None or rng.random() < 0.15:
        image.save(buffer, "PNG", optimize=rng is None)
    else:
        image.save(buffer, "JPEG", quality=int(rng.integers(45, 96)))
    return buffer.getvalue()


def decode(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content)).convert("RGB")


def write_examples(directory: Path) -> None:
    """The three images that the README asks about."""
    directory.mkdir(parents=True, exist_ok=True)
    draw("red", "circle", size=(320, 240)).save(directory / "red-circle.png", optimize=True)
    draw("blue", "square", size=(320, 240), center=(110, 130), radius=80).save(
        directory / "blue-square.jpg", quality=85
    )
    draw("green", "star", size=(240, 320), center=(130, 140)).save(directory / "green-star.png", optimize=True)


if __name__ == "__main__":
    write_examples(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "examples")
