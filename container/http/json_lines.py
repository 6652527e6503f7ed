"""A body of several JSON lines, as a batch transform sends it -> a line for each: its response, or what is wrong with it."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any

from container.http.statuses import error_body
from handler.concurrency import gather
from handler.errors import InvalidRequest, RequestError
from handler.images import RequestContext
from handler.payload.body import json_object
from handler.service import StreamableRequest

CONTENT_TYPE = "application/jsonlines"
Line = StreamableRequest | RequestError
Answer = Callable[[StreamableRequest, RequestContext], Coroutine[Any, Any, bytes]]


def parse_lines(lines: Sequence[bytes], parse: Callable[[Mapping[str, Any]], StreamableRequest]) -> list[Line]:
    """The request of each line, or its error: a faulty line costs its neighbours nothing."""
    return [_parse_line(line, parse) for line in lines]


def ignored_in(lines: Sequence[Line]) -> tuple[str, ...]:
    """What has no effect in any of them."""
    requests = (line for line in lines if not isinstance(line, RequestError))
    return tuple(dict.fromkeys(name for request in requests for name in request.ignored))


async def answer_lines(answer: Answer, lines: Sequence[Line], context: RequestContext) -> bytes:
    """The responses, each a line, in order. Raises ServerError: those are nobody's fault but ours, and worth a retry."""
    jobs = [_answer(answer, line, replace(context, id=f"{context.id}-{i}")) for i, line in enumerate(lines)]
    return b"\n".join(await gather(jobs))


def _parse_line(line: bytes, parse: Callable[[Mapping[str, Any]], StreamableRequest]) -> Line:
    try:
        request = parse(json_object(line))
    except RequestError as fault:
        return fault
    return InvalidRequest("One of several lines cannot stream.", param="stream") if request.stream else request


async def _answer(answer: Answer, line: Line, context: RequestContext) -> bytes:
    if isinstance(line, RequestError):
        return error_body(line)
    try:
        return (await answer(line, context)).strip()
    except RequestError as fault:
        return error_body(fault)
