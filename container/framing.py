"""Completion chunks -> server-sent events or JSON lines."""

import enum


class Framing(enum.Enum):
    """How a stream is written: OpenAI's server-sent events, TGI's, or JSON lines."""

    SSE = "sse"
    TGI = "tgi"
    JSON_LINES = "jsonlines"

    @property
    def content_type(self) -> str:
        return "application/jsonlines" if self is Framing.JSON_LINES else "text/event-stream"

    def frame(self, chunk: bytes) -> bytes:
        """One chunk, which is JSON text without line breaks."""
        if self is Framing.JSON_LINES:
            return chunk + b"\n"
        return (b"data: " if self is Framing.SSE else b"data:") + chunk + b"\n\n"

    @property
    def last(self) -> bytes:
        """What ends a stream in which nothing went wrong."""
        return b"data: [DONE]\n\n" if self is Framing.SSE else b""


def choose(*, openai: bool, accept: str, formatter: str | None, tgi: bool = False) -> Framing:
    """The framing of a stream: `/v1/*` speaks SSE; elsewhere LMI's JSON lines, unless Accept or the option says SSE.

    `openai` is whether the route is one of OpenAI's, `formatter` is `output_formatter`, and `tgi` whether TGI's schema
    is answered as TGI does.
    """
    if tgi:
        return Framing.TGI
    if openai or formatter == "sse" or "text/event-stream" in accept.lower():
        return Framing.SSE
    return Framing.JSON_LINES
