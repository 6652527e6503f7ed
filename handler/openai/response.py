"""What chat completions and text completions have in common: the frame of the object and of each chunk, and the usage."""

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from handler.engine import Delta, ModelCard, Prompt
from handler.openai.options import ResponseOptions
from handler.openai.usage import Usage

to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


class Response(ABC):
    """The response to one prompt by `model`: `complete` makes one object of all deltas, `chunks` a few of each and
    `last_chunks` what follows them."""

    id_prefix: ClassVar[str]
    kind: ClassVar[str]
    chunk_kind: ClassVar[str]

    def __init__(self, prompt: Prompt, card: ModelCard, model: str, options: ResponseOptions) -> None:
        self._options = options
        self._fingerprint = card.fingerprint
        self._usage = Usage()
        self._head = {
            "id": f"{self.id_prefix}-{prompt.request_id}",
            "object": self.chunk_kind if prompt.stream else self.kind,
            "created": int(time.time()),
            "model": model,
        }
        self._own_fields: Mapping[str, Any] = {}
        self.needs_tokens = options.logprobs or options.token_ids
        # Most chunks of a stream differ in their text only: the rest is encoded once.
        self._is_plain = not (options.logprobs or options.token_ids or options.continuous_usage)
        self._plain_start = f'{to_json(self._head)[:-1]},"choices":['

    def complete(self, deltas: Sequence[Delta]) -> bytes:
        """The completion, of which `deltas` has all choices, in any order."""
        for delta in deltas:
            self._read(delta)
            self._usage.count(self._number(delta), delta)
        # One choice after another: the encoder lets no other thread run before it is done.
        choices = ",".join(to_json(self._choice(delta)) for delta in sorted(deltas, key=self._number))
        rest = {
            "service_tier": None,
            "system_fingerprint": self._fingerprint,
            "usage": self._usage.total(),
            **self._prompt_fields(),
            "kv_transfer_params": None,
            "ec_transfer_params": None,
            "metrics": None,
            **self._own_fields,
        }
        return f'{to_json(self._head)[:-1]},"choices":[{choices}],{to_json(rest)[1:]}'.encode()

    @abstractmethod
    def chunks(self, delta: Delta) -> Iterator[bytes]:
        """The chunks that bring `delta` to the client; there may be none."""

    def last_chunks(self) -> Iterator[bytes]:
        """The chunk with the usage, if it is asked for."""
        if self._options.usage:
            last = {**self._head, "choices": [], "system_fingerprint": self._fingerprint, "usage": self._usage.total()}
            yield to_json(_without_nulls({**last, **self._own_fields})).encode()

    @abstractmethod
    def _choice(self, delta: Delta) -> dict[str, Any]:
        """A choice of the completion."""

    def _prompt_fields(self) -> dict[str, Any]:
        """What the completion says about its prompt."""
        return {}

    def _number(self, delta: Delta) -> int:
        return delta.text_index * self._options.n + delta.index

    def _read(self, delta: Delta) -> None:
        if delta.prompt is not None:
            self._usage.prompts[delta.text_index] = delta.prompt
        if delta.response_fields:
            self._own_fields = delta.response_fields

    def _chunk(self, choice: Mapping[str, Any], usage: Mapping[str, Any] | None, **fields: Any) -> bytes:
        chunk: dict[str, Any] = {**self._head, "choices": [choice], **fields}
        if usage is not None:
            chunk["usage"] = usage
        if choice["finish_reason"] is not None and not self._options.usage and self._fingerprint is not None:
            chunk["system_fingerprint"] = self._fingerprint
        return to_json(chunk).encode()


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return value
