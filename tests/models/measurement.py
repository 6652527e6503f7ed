"""A family -> how Lumi's answers compare with those of transformers.

Each side has a process of its own: vLLM is imported once for all families, and a process that dies takes no test along.
"""

import contextlib
import importlib
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from tests.models import served
from tests.models.answer import Answers
from tests.models.comparison import Comparison, compare
from tests.models.families import Family

Measure = Callable[[Family], Mapping[str, Comparison]]


@contextlib.contextmanager
def measuring(families: Iterable[Family], directory: Path) -> Iterator[Measure]:
    """What compares one of `families`, by the name of the chat. Checkpoints are written to `directory`; those and the
    references are made while vLLM is imported."""
    spawn = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(1, spawn) as references,
        ProcessPoolExecutor(1, spawn, initializer=served.preload) as servers,
    ):
        servers.submit(int)  # the first work begins the process
        made = {family.name: references.submit(_reference, family, directory) for family in families}

        def measure(family: Family) -> Mapping[str, Comparison]:
            reference = made[family.name].result()
            answers = servers.submit(served.served_answers, directory / family.name, family.chats, family.environ)
            return compare(reference, answers.result())

        try:
            yield measure
        finally:
            references.shutdown(wait=False, cancel_futures=True)


def build_checkpoint(name: str, directory: Path) -> Path:
    """Make the small checkpoint of the family `name` in `directory`; where it is."""
    checkpoint = directory / name
    checkpoint.mkdir(parents=True, exist_ok=True)
    _module(name).build(checkpoint)
    return checkpoint


def _reference(family: Family, directory: Path) -> Answers:
    checkpoint = build_checkpoint(family.name, directory)
    if hasattr(_module(family.name), "reference"):  # the authors' code has the model in another form
        checkpoint = _module(family.name).reference(checkpoint)
    # It imports torch, which only this process needs.
    answers: Answers = importlib.import_module("tests.models.reference").reference_answers(checkpoint, family.chats)
    return answers


def _module(name: str) -> Any:
    return importlib.import_module(f"tests.models.checkpoints.{name}")
