"""Stateful sessions: what a conversation keeps between its turns, which is the images that it has shown.

LMI and SageMaker open and close a session with `requestType` and name it in a header. A later turn names an earlier
image by the SHA-256 of its bytes (`sha256:<hex>` where its URL would be) and does not send it again.
"""

import hashlib
import re
import time
import uuid
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from handler.errors import InvalidRequest, MediaInvalid
from handler.payload.fields import short
from handler.payload.parts import ImagePart

MOST_SESSIONS = 10_000
_BY_HASH = re.compile(r"sha256:([0-9a-fA-F]{64})")


@dataclass(slots=True)
class Session:
    """One conversation; `expires` is a Unix time in seconds."""

    id: str
    expires: float
    digests: set[str] = field(default_factory=set)


class Sessions:
    """The open sessions and their images, the least recently shown of which go first when `most_bytes` are full.

    `lifetime` is in seconds, from the opening on. Belongs to the event loop.
    """

    def __init__(self, lifetime: float = 1200, most_bytes: int = 2**30, now: Callable[[], float] = time.time) -> None:
        self._lifetime = lifetime
        self._most_bytes = most_bytes
        self._now = now
        self._open: dict[str, Session] = {}
        self._images: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0
        self._shown_in: Counter[str] = Counter()  # sessions that have shown an image

    def open(self) -> Session:
        """A new session. Raises InvalidRequest when there are too many."""
        self._expire()
        if len(self._open) >= MOST_SESSIONS:
            raise InvalidRequest(f"{MOST_SESSIONS} sessions are open; close one.", code="too_many_sessions")
        session = Session(str(uuid.uuid4()), self._now() + self._lifetime)
        self._open[session.id] = session
        return session

    def find(self, name: str) -> Session:
        """The open session of that id. Raises InvalidRequest."""
        self._expire()
        name = name.partition(";")[0].strip()  # as it was told, with its end or without
        if (session := self._open.get(name)) is None:
            raise InvalidRequest(
                f"The session {short(name)!r} is not open: it was closed, has expired, or never was; "
                'open one with {"requestType": "NEW_SESSION"}.',
                code="session_not_found",
            )
        return session

    def close(self, name: str) -> Session:
        """End a session and forget its images. Raises InvalidRequest."""
        session = self.find(name)
        self._end(session)
        return session

    def image(self, session: Session, digest: str) -> bytes | None:
        """The image of that SHA-256, if the session has shown it and it is still kept."""
        if digest not in session.digests or digest not in self._images:
            return None
        self._images.move_to_end(digest)
        return self._images[digest]

    def keep(self, session: Session, digests: Iterable[tuple[str, bytes]]) -> None:
        """Remember images of the session by their SHA-256, unless it has ended meanwhile."""
        if self._open.get(session.id) is not session:
            return
        for digest, data in digests:
            if digest not in session.digests:
                session.digests.add(digest)
                self._shown_in[digest] += 1
            if digest not in self._images:
                self._images[digest] = data
                self._bytes += len(data)
            self._images.move_to_end(digest)
        while self._bytes > self._most_bytes:
            _, gone = self._images.popitem(last=False)
            self._bytes -= len(gone)

    def _expire(self) -> None:
        now = self._now()
        # In order of their opening, and so of their end.
        while self._open and (oldest := next(iter(self._open.values()))).expires <= now:
            self._end(oldest)

    def _end(self, session: Session) -> None:
        del self._open[session.id]
        for digest in session.digests:
            self._shown_in[digest] -= 1
            if self._shown_in[digest]:
                continue
            del self._shown_in[digest]
            if (data := self._images.pop(digest, None)) is not None:
                self._bytes -= len(data)


def named(part: ImagePart, sessions: Sessions | None, session: Session | None) -> ImagePart:
    """The part itself, or with its bytes where it names them by hash. Raises MediaInvalid."""
    if not isinstance(part.url, str) or not (by_hash := _BY_HASH.fullmatch(part.url.strip())):
        return part
    if sessions is None or session is None:
        raise MediaInvalid(
            "An image is named by its hash in a session only; send the header X-Amzn-SageMaker-Session-Id.",
            param=part.path,
        )
    data = sessions.image(session, by_hash[1].lower())
    if data is None:
        raise MediaInvalid(
            "The session has no image of this hash, or no longer; send the image again.",
            param=part.path,
            code="media_not_in_session",
        )
    return ImagePart(data, part.path)


def sha256(data: bytes) -> str:
    """The name of an image in a session."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, slots=True)
class SessionAnswer:
    """What opening or closing a session is answered with."""

    body: Mapping[str, Any]
    headers: Mapping[str, str]


def answer(sessions: Sessions | None, kind: Any, name: str | None) -> SessionAnswer:
    """Do what `requestType` says. Raises InvalidRequest."""
    if kind not in ("NEW_SESSION", "CLOSE"):
        raise InvalidRequest("`requestType` must be NEW_SESSION or CLOSE.", param="requestType")
    if sessions is None:
        raise InvalidRequest("Stateful sessions are off here (OPTION_ENABLE_STATEFUL_SESSIONS).", param="requestType")
    if kind == "NEW_SESSION":
        session = sessions.open()
        expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(session.expires))
        told = f"{session.id}; Expires={expires}"
        # LMI's name for it, and the one by which the AWS SDKs read it.
        headers = {"x-amzn-sagemaker-session-id": told, "x-amzn-sagemaker-new-session-id": told}
        return SessionAnswer({"result": f"Session {session.id} created", "sessionId": session.id}, headers)
    if not name:
        raise InvalidRequest("CLOSE needs the header X-Amzn-SageMaker-Session-Id, which says what to close.")
    session = sessions.close(name)
    headers = {"x-amzn-sagemaker-closed-session-id": session.id}
    return SessionAnswer({"result": f"Session {session.id} closed", "sessionId": session.id}, headers)
