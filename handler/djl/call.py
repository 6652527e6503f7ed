"""The seam between the routes and user code: what user code gets of a request, and what the client gets of its output."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Call:
    """One request: its raw body, its headers, its query parameters, and its id in the log."""

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    parameters: tuple[tuple[str, str], ...] = ()
    id: str = ""

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "")


@dataclass(frozen=True, slots=True)
class CallResult:
    """The response to a call. `status` is the HTTP status that user code set, `headers` are valid HTTP headers. The body
    is `body`, or a stream of `chunks`, which the caller closes."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    chunks: AsyncGenerator[bytes, None] | None = None
