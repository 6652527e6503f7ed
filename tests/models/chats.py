"""The nine chats that every family is asked, as messages that OpenAI's API and transformers' processors take alike."""

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

Message = dict[str, Any]

TOKENS = 16  # of each answer


def image(seed: int, width: int = 160, height: int = 120) -> Message:
    """A content part with an image of its own: large soft shapes in random colors, so that every resize shows."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(file, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def user(*parts: str | Message) -> Message:
    return {"role": "user", "content": [_part(part) for part in parts]}


def assistant(text: str) -> Message:
    return {"role": "assistant", "content": [_part(text)]}


def _part(part: str | Message) -> Message:
    return {"type": "text", "text": part} if isinstance(part, str) else part


WHAT, COMPARE, NOW = "What is in the image?", "Which one is larger, and why?", "And now?"
RED, BLUE = image(1), image(2, 120, 160)

CHATS: Mapping[str, list[Message]] = {
    "text": [user("Name the capital of France.")],
    "image before text": [user(RED, WHAT)],
    "image after text": [user(WHAT, RED)],
    "two images": [user(RED, BLUE, COMPARE)],
    "interleaved": [user("The first image:", RED, "the second:", BLUE, COMPARE)],
    "two turns": [user("Name the capital of France."), assistant("It is large."), user(NOW)],
    "images in two turns": [user(RED, WHAT), assistant("A red circle."), user(BLUE, NOW)],
    "1000x330": [user(image(3, 1000, 330), WHAT)],
    "31x12": [user(image(4, 31, 12), WHAT)],
}
WITH_IMAGES = tuple(name for name in CHATS if name not in ("text", "two turns"))
WITH_TWO = ("two images", "interleaved", "images in two turns")
