"""Completion chunks -> server-sent events or JSON lines."""

import enum


class Framing(enum.Enum):
    """How a stream is written. Its value is the content type."""

    SSE = "text/event-stream"
    JSON_LINES = "application/jsonlines"

    def frame(self, chunk: bytes) -> bytes:
        """One chunk, which is JSON text without line breaks."""
        return b"data: " + chunk + b"\n\n" if self is Framing.SSE else chunk + b"\n"

    @property
    def last(self) -> bytes:
        """What ends a stream in which nothing went wrong."""
        return b"data: [DONE]\n\n" if self is Framing.SSE else b""


def choose(*, openai: bool, accept: str, formatter: str | None) -> Framing:
    """The framing of a stream: `/v1/*` speaks SSE; elsewhere LMI's JSON lines, unless Accept or the option says SSE.

    `openai` is whether the route is one of OpenAI's, `formatter` is `output_formatter`.
    """
    if openai or formatter == "sse" or "text/event-stream" in accept.lower():
        return Framing.SSE
    return Framing.JSON_LINES
