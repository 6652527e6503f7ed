"""The seam between the routes and the user's code: what of a request enters, and what of an answer leaves."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Call:
    """One request: its body as it came, its headers, the parameters of its address, and what the log calls it."""

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    parameters: tuple[tuple[str, str], ...] = ()
    id: str = ""

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the code answered. `code` is the HTTP status that it asked for, `headers` are fit to be sent, and either
    `body` is all of it, or `pieces` gives it; whoever takes the pieces closes them."""

    code: int
    headers: Mapping[str, str]
    body: bytes = b""
    pieces: AsyncGenerator[bytes, None] | None = None
