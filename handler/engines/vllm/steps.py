"""The steps of an AsyncLLM's replicas, counted: vLLM calls a logger of statistics after each, prefill chunks included."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.metrics.loggers import StatLoggerBase


class Steps:
    """`logger` is for vLLM, which calls it for each replica."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def logger(self, _config: Any, replica: int) -> StatLoggerBase:
        return _StepLogger(self._counts, replica)

    def of_busy_replicas(self, llm: AsyncLLM) -> Mapping[int, int]:
        """The steps so far, by replica, of those that have requests."""
        return {replica: self._counts[replica] for replica in _busy_replicas(llm)}


class _StepLogger(StatLoggerBase):  # type: ignore[misc]  # vllm is untyped here
    def __init__(self, counts: Counter[int], replica: int) -> None:
        self._counts = counts
        self._replica = replica

    def record(self, *_: Any, **__: Any) -> None:
        self._counts[self._replica] += 1

    def log_engine_initialized(self) -> None:
        """Nothing to say."""


def _busy_replicas(llm: AsyncLLM) -> list[int]:
    if not llm.output_processor.has_unfinished_requests():
        return []
    # With several replicas vLLM counts the requests of each, by its number as two bytes.
    requests = getattr(llm.engine_core, "engine_inflight", None)
    if requests is None:
        return [0]
    return [int.from_bytes(identity, "little") for identity, count in requests.items() if count > 0]
