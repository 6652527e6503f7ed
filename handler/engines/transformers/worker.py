"""Requests -> deltas, in a thread of its own: waiting requests join the batch between two steps, and rows that end leave it."""

import logging
import queue
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

import torch

from handler.engine import Token
from handler.engines.transformers.batch import Batch
from handler.engines.transformers.completion import Completion, Request, TokenTexts
from handler.engines.transformers.decoder import Decoder, prefill_shape
from handler.errors import OF_REQUEST, EngineDead, EngineFailure, LumiError, Unavailable

log = logging.getLogger("lumi.engine")

PREFILL_TOKENS = 8192  # of prompts that are computed together, padding included


class Worker:
    """Runs the model. `submit` and `stop` may be called in any thread; a request is cancelled by its own flag."""

    def __init__(self, decoder: Decoder, tokenizer: Any, *, max_rows: int) -> None:
        self._decoder = decoder
        self._tokenizer = tokenizer
        self._texts = TokenTexts(tokenizer)
        self._max_rows = max_rows
        self._arrivals: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._waiting: deque[Request] = deque()
        self._starting: list[Request] = []
        self._rows: list[Completion] = []
        self._batch: Batch | None = None
        self._stopping = False
        self._failed = False
        self.steps = 0
        self._thread = threading.Thread(target=self._run, name="lumi-transformers", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def submit(self, request: Request) -> None:
        """Answer `request` as soon as there is room for it."""
        self._arrivals.put(request)
        if self._failed:  # nothing reads the queue any more
            request.deliver(_dead())

    def stop(self, seconds: float) -> None:
        """End after the step that is running."""
        self._stopping = True
        self._arrivals.put(None)
        if self._thread.is_alive():
            self._thread.join(seconds)

    @property
    def is_busy(self) -> bool:
        """Whether there is something to compute."""
        return bool(self._rows or self._starting or self._waiting) or not self._arrivals.empty()

    def in_flight(self) -> dict[str, bool]:
        """The requests that it has, and whether the first token of each has come."""
        waiting = dict.fromkeys((one.prompt.request_id for one in [*self._starting, *self._waiting]), False)
        return {**{row.request.prompt.request_id: True for row in [*self._rows]}, **waiting}

    def fail(self) -> None:
        """Answer nothing any more, wherever the thread is."""
        self._stopping = self._failed = True
        self._end_all(_dead())

    def check(self) -> None:
        """Raises EngineDead."""
        if self._failed:
            raise _dead()

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                while not self._stopping:
                    self._receive()
                    self._admit()
                    if self._rows:
                        self._step()
                        self.steps += 1
        except Exception:
            log.exception("the engine has failed")
        self._failed = True
        self._end_all(_dead())

    def _receive(self) -> None:
        """Take what has arrived; wait for it if there is nothing else to do."""
        block = not self._rows and not self._waiting
        while True:
            try:
                request = self._arrivals.get(block)
            except queue.Empty:
                break
            block = False
            if request is not None:
                self._waiting.append(request)
        self._waiting = deque(request for request in self._waiting if not request.cancelled)

    def _admit(self) -> None:
        while self._waiting and not self._stopping:
            room = self._max_rows - len(self._rows)
            if self._rows and self._waiting[0].sampling.n > room:
                return
            self._starting = self._next_group(room)
            self._prefill(self._starting)
            self.steps += 1
            self._starting = []

    def _next_group(self, room: int) -> list[Request]:
        """The oldest waiting request, and others that can be computed together with it."""
        group = [self._waiting.popleft()]
        shape, longest = prefill_shape(group[0].inputs), len(group[0].inputs.ids)
        rows = group[0].sampling.n
        for request in list(self._waiting):
            longest = max(longest, len(request.inputs.ids))
            rows += request.sampling.n
            if rows > room or longest * (len(group) + 1) > PREFILL_TOKENS:
                break
            if prefill_shape(request.inputs) != shape:
                break  # so that nobody is overtaken
            self._waiting.remove(request)
            group.append(request)
        return group

    def _prefill(self, group: Sequence[Request]) -> None:
        try:
            batch, logits = self._decoder.prefill([request.inputs for request in group])
        except Exception as fault:  # noqa: BLE001  # whatever the model raises
            if len(group) == 1 or _is_fatal(fault):
                _deliver_fault(group, fault)
                return
            for request in group:  # one of them is at fault, or all together are too large
                self._prefill([request])
            return
        try:
            self._start(group, batch, logits)
        except Exception as fault:  # noqa: BLE001  # memory runs out where rows join, and those before them go on
            _deliver_fault(group, fault)

    def _start(self, group: Sequence[Request], batch: Batch, logits: torch.Tensor) -> None:
        """Choose the first tokens of the group, and have its rows join the batch."""
        indices = [index for index, request in enumerate(group) for _ in range(request.sampling.n)]
        rows = [
            Completion(request, number, self._tokenizer, self._texts, self._decoder.device)
            for request in group
            for number in range(request.sampling.n)
        ]
        batch.select(indices)
        kept = self._choose(rows, logits[indices])
        if not kept:
            return
        batch.select(kept)
        if self._batch is None:
            self._batch = batch
        else:
            self._batch.join(batch)
        self._rows += [rows[index] for index in kept]

    def _step(self) -> None:
        assert self._batch is not None  # noqa: S101  # there are rows
        try:
            alive = [index for index, row in enumerate(self._rows) if not row.request.cancelled]
            if self._keep(alive):
                logits = self._decoder.step(self._batch, [row.output[-1] for row in self._rows])
                self._keep(self._choose(self._rows, logits))
        except Exception as fault:  # noqa: BLE001  # whatever the model raises
            _deliver_fault([row.request for row in self._rows], fault)
            self._rows, self._batch = [], None

    def _keep(self, indices: Sequence[int]) -> bool:
        """Drop all other rows; whether any is left."""
        self._rows = [self._rows[index] for index in indices]
        if not self._rows:
            self._batch = None
        elif self._batch is not None:
            self._batch.select(indices)
        return bool(self._rows)

    def _choose(self, rows: Sequence[Completion], logits: torch.Tensor) -> list[int]:
        """Give each row its next token; the indices of those that go on."""
        likeliest = logits.argmax(-1).tolist()
        chosen = [
            token
            if row.sampler.takes_likeliest
            else row.sampler.choose(logits[index : index + 1], row.request.inputs.ids, row.output)
            for index, (row, token) in enumerate(zip(rows, likeliest, strict=True))
        ]
        tokens = self._tokens(rows, logits, chosen)
        kept: list[int] = []
        for index, row in enumerate(rows):
            if row.request.cancelled:
                continue
            delta = row.add(chosen[index], tokens[index])
            if delta is not None:
                row.request.deliver(delta)
            if delta is None or delta.finish_reason is None:
                kept.append(index)
        return kept

    def _tokens(self, rows: Sequence[Completion], logits: torch.Tensor, chosen: Sequence[int]) -> list[Token | None]:
        """The chosen tokens with their log probabilities, as far as they were asked for. These are the model's own, before
        temperature and the rest, as vLLM's are."""
        counts = [row.request.sampling.logprobs for row in rows]
        if all(count is None for count in counts):
            return [None] * len(rows)
        logprobs = logits.float().log_softmax(-1)
        return [
            None if count is None else self._with_likeliest(logprobs[index], chosen[index], count)
            for index, count in enumerate(counts)
        ]

    def _with_likeliest(self, logprobs: torch.Tensor, chosen: int, count: int) -> Token:
        own = float(logprobs[chosen])
        rank = 1 + int((logprobs > own).sum())
        values, ids = logprobs.topk(count)
        likeliest = [
            self._texts.token(number, value, rank=at)
            for at, (number, value) in enumerate(zip(ids.tolist(), values.tolist(), strict=True), 1)
        ]
        if all(token.id != chosen for token in likeliest):
            likeliest.append(self._texts.token(chosen, own, rank=rank))
        return self._texts.token(chosen, own, tuple(likeliest), rank)

    def _end_all(self, error: LumiError) -> None:
        while not self._arrivals.empty():
            if (request := self._arrivals.get()) is not None:
                self._waiting.append(request)
        for request in {row.request for row in self._rows}.union(self._waiting, self._starting):
            request.deliver(error)


def _deliver_fault(requests: Sequence[Request], fault: Exception) -> None:
    if _is_fatal(fault):
        raise fault
    log.error("transformers failed on %d request(s)", len(requests), exc_info=fault, extra=OF_REQUEST)
    error: LumiError = EngineFailure("The engine failed on this request.")
    if isinstance(fault, torch.OutOfMemoryError):
        torch.cuda.empty_cache()
        error = Unavailable("The GPU's memory is full; try again, or ask for less at once.", retry_after=1)
    for request in set(requests):
        request.deliver(error)


def _is_fatal(fault: Exception) -> bool:
    """Whether the GPU will refuse everything from now on."""
    return "CUDA error" in str(fault) and not isinstance(fault, torch.OutOfMemoryError)


def _dead() -> EngineDead:
    return EngineDead("The engine has failed.")
