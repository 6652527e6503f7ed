"""Requests in, one sample out: the CPU time that the front end took for each, and what it answered."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cases import Request
from servers import Server

SETTLING_SECONDS = 0.05  # for work that a front end does after the response
IDLE_SECONDS = 12  # longer than the 10 s at which both log their throughput

Answer = tuple[str, str | None, int | None]
"""Text, finish reason, and tokens of the prompt (None in a stream)."""


class WrongAnswer(Exception):
    """A server answered other than 200, or did not do the work that the column is about."""


@dataclass(frozen=True)
class Sample:
    """Milliseconds per request, and the answers."""

    cpu: float
    wall: float
    answers: list[Answer]


def idle_rates(servers: Sequence[Server]) -> list[float]:
    """The share of a core that each front end takes while idle."""
    before = [server.cpu_seconds() for server in servers]
    time.sleep(IDLE_SECONDS)
    return [(server.cpu_seconds() - was) / IDLE_SECONDS for server, was in zip(servers, before, strict=True)]


def sample(server: Server, requests: Sequence[Request], idle_rate: float) -> Sample:
    """Send the requests, one after the other on one connection. Raises WrongAnswer."""
    hits = server.image_hits()
    time.sleep(SETTLING_SECONDS)
    cpu, began = server.cpu_seconds(), time.monotonic()
    answers = [_ask(server, request) for request in requests]
    answered = time.monotonic()
    time.sleep(SETTLING_SECONDS)
    spent = server.cpu_seconds() - cpu - idle_rate * (time.monotonic() - began)
    found, expected = server.image_hits() - hits, sum(request.known for request in requests)
    if found != expected:
        raise WrongAnswer(f"{server.name} found {found} images in its cache where {expected} were known.")
    per_request = 1000 / len(requests)
    return Sample(spent * per_request, (answered - began) * per_request, [_answer(*raw) for raw in answers])


def _ask(server: Server, request: Request) -> tuple[bool, bytes]:
    response = server.client.post(
        "/v1/chat/completions", content=request.body, headers={"content-type": "application/json"}
    )
    if response.status_code != 200:
        raise WrongAnswer(f"{server.name} answered {response.status_code}: {response.text[:500]}")
    return request.stream, response.content


def _answer(stream: bool, content: bytes) -> Answer:
    if not stream:
        body = json.loads(content)
        choice = body["choices"][0]
        return choice["message"]["content"], choice["finish_reason"], body["usage"]["prompt_tokens"]
    events = [line.removeprefix(b"data: ") for line in content.splitlines() if line.startswith(b"data: ")]
    if not events or events.pop() != b"[DONE]":
        raise WrongAnswer("A stream ended without [DONE].")
    choices: list[dict[str, Any]] = [choice for event in events for choice in json.loads(event)["choices"]]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    return text, choices[-1]["finish_reason"], None
