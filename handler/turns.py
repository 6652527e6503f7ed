"""Turns at the engine: the requests of all clients enter it in turn, a bounded number of sequences at a time.

An engine runs what it has in the order of arrival. Without turns one client's thousand prompts, or one request's thousand
inputs, would all be ahead of the next client's one.
"""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from handler.engine import ModelCard
from handler.errors import InvalidRequest

MAX_COMPLETIONS = 32  # of one prompt, where the engine does not batch more
LEAST_BATCH = 32  # for turns, where the engine batches as many
MOST_COMPLETIONS = 128  # in any case; VLLM_MAX_N_SEQUENCES


def sequences_at_once(card: ModelCard) -> int:
    """How many sequences the engine is taken to run at once: a batch, as far as the KV cache holds it where each fills a
    quarter of the context."""
    return card.batch_size if card.concurrency is None else min(card.batch_size, max(1, int(4 * card.concurrency)))


def batch_for_turns(card: ModelCard) -> int:
    """The batch, no larger than what the KV cache runs, since the rest of it would wait in the engine in order of arrival."""
    return min(card.batch_size, max(LEAST_BATCH, sequences_at_once(card)))


@dataclass(frozen=True, slots=True)
class Source:
    """Whose sequences they are: the client's address, and its request."""

    client: str = ""
    request: str = ""


class Turns:
    """The sequences in the engine, which batches `batch` of them: at most that many of one request, twice as many of one
    client (`of_client`), and four times as many of all (`total`). The rest wait: clients take turns, and so do the requests
    of each.

    More than one batch is let in, since images are fetched and prompts rendered before a sequence takes its place in it.
    """

    def __init__(self, batch: int = 32, *, of_client: int | None = None, total: int | None = None) -> None:
        self.batch = batch
        self._most_of_client = 2 * batch if of_client is None else of_client
        self._most = 4 * batch if total is None else total
        self._total = 0
        self._of_client: Counter[str] = Counter()
        self._of_request: Counter[Source] = Counter()
        # By client, then by request; those that come next are first.
        self._waiting: OrderedDict[str, OrderedDict[Source, deque[_Turn]]] = OrderedDict()

    @property
    def count(self) -> int:
        """The sequences that have been let in."""
        return self._total

    def check(self, parameters: Mapping[str, Any]) -> None:
        """Raises InvalidRequest if they ask for more completions of a prompt than the engine should run at once."""
        count, limit = sequence_count(parameters), min(max(self.batch, MAX_COMPLETIONS), MOST_COMPLETIONS)
        if count > limit:
            raise InvalidRequest(
                f"`n` is {count}; the maximum is {limit}. Send several requests for more.",
                param="n",
            )

    @asynccontextmanager
    async def turn(self, source: Source, sequences: int) -> AsyncIterator[None]:
        """The block runs when it is its turn to have so many sequences in the engine."""
        turn = _Turn(min(sequences, self.batch), asyncio.get_running_loop().create_future())
        self._waiting.setdefault(source.client, OrderedDict()).setdefault(source, deque()).append(turn)
        self._admit()
        try:
            await turn.admitted
            yield
        finally:
            if not turn.admitted.cancelled():
                self._count(source, -turn.sequences)
            self._admit()

    def _admit(self) -> None:
        while (source := self._next()) is not None:
            requests = self._waiting[source.client]
            turn = requests[source].popleft()
            if not turn.admitted.cancelled():
                requests.move_to_end(source)
                self._waiting.move_to_end(source.client)
                self._count(source, turn.sequences)
                turn.admitted.set_result(None)
            if not requests[source]:
                del requests[source]
            if not requests:
                del self._waiting[source.client]

    def _next(self) -> Source | None:
        """The first client below its share, and the first of its requests below its own, if there is room for it; or one
        that no longer waits."""
        for client, requests in self._waiting.items():
            for source, turns in requests.items():
                if turns[0].admitted.cancelled():
                    return source
                count = turns[0].sequences
                if self._total and self._total + count > self._most:
                    return None
                if self._of_client[client] and self._of_client[client] + count > self._most_of_client:
                    break
                if self._of_request[source] and self._of_request[source] + count > self.batch:
                    continue
                return source
        return None

    def _count(self, source: Source, sequences: int) -> None:
        self._total += sequences
        for counter, key in ((self._of_client, source.client), (self._of_request, source)):
            counter[key] += sequences  # type: ignore[index]
            if not counter[key]:  # type: ignore[index]
                del counter[key]


def sequence_count(parameters: Mapping[str, Any]) -> int:
    """How many sequences of one prompt the engine runs. It validates the parameter itself."""
    n = parameters.get("n")
    try:
        return max(1, int(n))  # type: ignore[arg-type]  # its TypeError is caught
    except (TypeError, ValueError, OverflowError):
        return 1


@dataclass(eq=False, slots=True)
class _Turn:
    sequences: int
    admitted: asyncio.Future[None]
