"""Completion chunks -> server-sent events or JSON lines."""

import enum


class Framing(enum.Enum):
    """How a stream is written: OpenAI's server-sent events, TGI's, JSON lines, or as user code has framed it."""

    SSE = "sse"
    TGI = "tgi"
    JSON_LINES = "jsonlines"
    RAW = "raw"
    RAW_EVENTS = "raw events"

    @property
    def content_type(self) -> str:
        lines = (Framing.JSON_LINES, Framing.RAW)
        return "application/jsonlines" if self in lines else "text/event-stream"

    @property
    def faults(self) -> "Framing":
        """How an error in the stream is written."""
        return {Framing.RAW: Framing.JSON_LINES, Framing.RAW_EVENTS: Framing.SSE}.get(self, self)

    def frame(self, chunk: bytes) -> bytes:
        """One chunk, which is JSON text without line breaks, or whatever user code makes of it."""
        if self in (Framing.RAW, Framing.RAW_EVENTS):
            return chunk
        if self is Framing.JSON_LINES:
            return chunk + b"\n"
        return (b"data: " if self is Framing.SSE else b"data:") + chunk + b"\n\n"

    @property
    def last(self) -> bytes:
        """What ends a stream in which nothing went wrong."""
        return b"data: [DONE]\n\n" if self is Framing.SSE else b""


def choose(*, openai: bool, accept: str, formatter: str | None, tgi: bool = False, raw: bool = False) -> Framing:
    """The framing of a stream: `/v1/*` speaks SSE; elsewhere LMI's JSON lines, unless Accept or the option says SSE.

    `openai` is whether the route is one of OpenAI's, `formatter` is `output_formatter`, and `tgi` whether TGI's schema
    is answered as TGI does. `raw` is whether user code writes the stream.
    """
    if raw:
        return Framing.RAW
    if tgi:
        return Framing.TGI
    if openai or formatter == "sse" or "text/event-stream" in accept.lower():
        return Framing.SSE
    return Framing.JSON_LINES
