"""Completion chunks -> server-sent events or JSON lines."""

import enum


class Framing(enum.Enum):
    """OpenAI's server-sent events, TGI's, JSON lines, or as user code frames its stream."""

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
    def errors(self) -> "Framing":
        """The framing of an error in the stream."""
        return {Framing.RAW: Framing.JSON_LINES, Framing.RAW_EVENTS: Framing.SSE}.get(self, self)

    def frame(self, chunk: bytes) -> bytes:
        """One chunk: JSON text without line breaks, or the bytes of user code."""
        if self in (Framing.RAW, Framing.RAW_EVENTS):
            return chunk
        if self is Framing.JSON_LINES:
            return chunk + b"\n"
        return (b"data: " if self is Framing.SSE else b"data:") + chunk + b"\n\n"

    @property
    def last(self) -> bytes:
        """The end of a stream without an error."""
        return b"data: [DONE]\n\n" if self is Framing.SSE else b""


def choose_framing(
    *, openai: bool, accept: str, formatter: str | None, tgi: bool = False, raw: bool = False
) -> Framing:
    """SSE on OpenAI's routes (`openai`); elsewhere LMI's JSON lines, unless Accept or the option `output_formatter`
    (`formatter`) asks for SSE. `tgi` is whether TGI's schema gets TGI's events, `raw` whether user code writes the stream.
    """
    if raw:
        return Framing.RAW
    if tgi:
        return Framing.TGI
    if openai or formatter == "sse" or "text/event-stream" in accept.lower():
        return Framing.SSE
    return Framing.JSON_LINES
