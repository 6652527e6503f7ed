"""Requests per second and time to the first token of the transformers engine, against `generate` one at a time.

    python -m benchmarks.transformers_engine [--family mllama] [--requests 32] [--tokens 32] [--rounds 3]

The model is the family's small checkpoint of tests/models. Both sides include the processor; they alternate in one run.
"""

import argparse
import asyncio
import importlib
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from handler.engine import ChatPrompt, Message, PromptImage
from handler.engines.transformers import loading
from handler.engines.transformers.launch import TransformersSettings

CLIENTS = 16
LONE = 15  # requests alone, for the first token


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family", default="mllama")
    parser.add_argument("--requests", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    asyncio.run(run(parser.parse_args()))


async def run(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as directory:
        importlib.import_module(f"tests.models.checkpoints.{arguments.family}").build(Path(directory))
        settings = TransformersSettings(names=("small",), dtype="float32")
        loaded = loading.load(settings, directory)
    engine = loading.start(loaded, settings)
    plain = Plain(loaded)
    prompts = [prompt(number, arguments.tokens) for number in range(arguments.requests)]
    await first_token(engine, prompts[0])
    plain.answer(prompts[0], arguments.tokens)
    rates: dict[str, list[float]] = {"generate": [], "engine": []}
    for _ in range(arguments.rounds):
        begin = time.perf_counter()
        expected = [plain.answer(one, arguments.tokens) for one in prompts]
        rates["generate"].append(len(prompts) / (time.perf_counter() - begin))
        begin = time.perf_counter()
        answers = await ask_all(engine, prompts)
        rates["engine"].append(len(prompts) / (time.perf_counter() - begin))
        print(f"{sum(map(same, answers, expected))} of {len(prompts)} answers are the same")
    ratio = statistics.median(rates["engine"]) / statistics.median(rates["generate"])
    for name, values in rates.items():
        print(
            f"{name}: {statistics.median(values):.1f} requests a second ({', '.join(f'{one:.1f}' for one in values)})"
        )
    print(f"ratio: {ratio:.1f}")
    lone = [(await first_token(engine, prompts[0]), plain.first_token(prompts[0])) for _ in range(LONE)]
    ours, theirs = (statistics.median(column) for column in zip(*lone, strict=True))
    print(f"first token: {ours * 1000:.1f} ms, generate {theirs * 1000:.1f} ms, ratio {ours / theirs:.2f}")
    await engine.stop()


class Plain:
    """`generate` as the model cards write it."""

    def __init__(self, loaded: loading.Loaded) -> None:
        self._model, self._processor = loaded.model, loaded.processor

    def answer(self, asked: ChatPrompt, tokens: int) -> list[int]:
        (message,) = asked.messages
        content = [
            {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "image": part.image}
            for part in message.content
        ]
        inputs = self._processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
        with torch.inference_mode():
            output = self._model.generate(**inputs, do_sample=False, max_new_tokens=tokens, eos_token_id=[])
        return output[0, inputs["input_ids"].shape[1] :].tolist()

    def first_token(self, asked: ChatPrompt) -> float:
        begin = time.perf_counter()
        self.answer(asked, 1)
        return time.perf_counter() - begin


def prompt(number: int, tokens: int) -> ChatPrompt:
    """A question of another length about an image of another size, as clients send them."""
    pixels = np.random.default_rng(number).integers(0, 256, (40 + 10 * (number % 3), 60, 3), dtype=np.uint8)
    image = PromptImage(Image.fromarray(pixels), b"", str(number), "messages[0].content[0]")
    question = "What is in the image? " + "And why? " * (number % 5)
    return ChatPrompt(
        messages=[Message("user", (image, question))],
        images=(),
        request_id=str(number),
        parameters={"temperature": 0, "max_tokens": tokens, "ignore_eos": True},
        stream=True,
    )


async def ask_all(engine: loading.TransformersEngine, prompts: Sequence[ChatPrompt]) -> list[list[int]]:
    """The answers, asked by CLIENTS at once."""
    waiting = iter(enumerate(prompts))
    answers: list[list[int]] = [[] for _ in prompts]

    async def client() -> None:
        for number, one in waiting:
            async for delta in engine.generate(one):
                answers[number] += [token.id for token in delta.tokens]

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return answers


async def first_token(engine: loading.TransformersEngine, asked: ChatPrompt) -> float:
    begin = time.perf_counter()
    deltas = engine.generate(asked)
    await anext(deltas)
    seconds = time.perf_counter() - begin
    await deltas.aclose()
    return seconds


def same(one: list[int], other: list[int]) -> bool:
    return one == other


if __name__ == "__main__":
    main()
