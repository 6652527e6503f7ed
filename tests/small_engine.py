"""The transformers engine with a small checkpoint of tests/models, and prompts for it."""

import asyncio
import importlib
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import numpy as np
from PIL import Image

from handler.engine import ChatPrompt, Message, PromptImage, Text, TextPrompt
from handler.engines.transformers import loading
from handler.engines.transformers.launch import TransformersSettings

GREEDY = {"temperature": 0, "max_tokens": 12}


def build(family: str, directory: Path) -> Path:
    """The family's checkpoint, in `directory`."""
    importlib.import_module(f"tests.models.checkpoints.{family}").build(directory)
    return directory


def start(directory: Path, **settings):
    """The engine with this checkpoint; its thread runs."""
    chosen = TransformersSettings(names=("small",), dtype="float32", **settings)
    return loading.start(loading.load(chosen, str(directory)), chosen)


def image(seed: int, width: int = 80, height: int = 60) -> PromptImage:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return PromptImage(Image.fromarray(pixels), b"", str(seed), "messages[0].content[0]")


def chat(*content, stream=False, **parameters) -> ChatPrompt:
    """A user's message with these texts and images."""
    return ChatPrompt(
        messages=[Message("user", content)],
        images=[part for part in content if isinstance(part, PromptImage)],
        request_id="1",
        parameters={**GREEDY, **parameters},
        stream=stream,
        prompt_tokens=True,
    )


def texts(*contents, **parameters) -> TextPrompt:
    """Raw prompts: a text, a tuple of texts and images, or a list of token ids each."""
    made = [
        Text(tokens=tuple(one)) if isinstance(one, list) else Text((one,) if isinstance(one, str) else one)
        for one in contents
    ]
    return TextPrompt(texts=made, request_id="1", parameters={**GREEDY, **parameters})


async def ask(engine, prompt):
    """All deltas."""
    return [delta async for delta in engine.generate(prompt)]


def answer(engine, prompt):
    """The only delta."""
    (delta,) = asyncio.run(ask(engine, prompt))
    return delta


def ids(deltas):
    return [token.id for delta in deltas for token in delta.tokens]


async def leave_after(engine, prompt, chunks: int, then: Callable[[], object] = lambda: None):
    """Read some chunks of a stream and close it."""
    async with aclosing(engine.generate(prompt)) as stream:
        for _ in range(chunks):
            await anext(stream)
    then()
