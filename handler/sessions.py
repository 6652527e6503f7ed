"""Stateful sessions: the images of a conversation, kept between its requests.

LMI and SageMaker open and close a session with `requestType` and name it in a header. A later request refers to an image
of an earlier one by the SHA-256 of its bytes (`sha256:<hex>` in place of the URL).
"""

import hashlib
import time
import uuid
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from handler.errors import InvalidRequest, MediaInvalid
from handler.payload.fields import shorten
from handler.payload.parts import ImagePart

MAX_SESSIONS = 10_000
NEW_SESSION = "NEW_SESSION"  # as `requestType`, and as the id of the session that a request is to open


@dataclass(slots=True)
class Session:
    """One conversation of a client; `expires` is a Unix time in seconds."""

    id: str
    client: str
    expires: float
    digests: set[str] = field(default_factory=set)


class Sessions:
    """The open sessions and their images. Beyond `max_sessions` or `max_bytes` of images, the client that has the most of
    them loses what it has used least recently.

    `lifetime` is in seconds from the opening. To be used in the event loop only.
    """

    def __init__(
        self,
        lifetime: float = 1200,
        max_bytes: int = 2**30,
        max_sessions: int = MAX_SESSIONS,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._lifetime = lifetime
        self.max_bytes = max_bytes
        self._max_sessions = max_sessions
        self._now = now
        self._open: dict[str, Session] = {}
        self._clients: dict[str, _Client] = {}
        self._bytes = 0

    @property
    def count(self) -> int:
        """How many sessions are open."""
        return len(self._open)

    @property
    def image_bytes(self) -> int:
        """What their images take."""
        return self._bytes

    def open(self, client: str = "") -> Session:
        """A new session."""
        self._expire()
        if len(self._open) >= self._max_sessions:
            most = max(self._clients.values(), key=lambda one: len(one.sessions))
            self._end(next(iter(most.sessions.values())))
        session = Session(str(uuid.uuid4()), client, self._now() + self._lifetime)
        self._open[session.id] = session
        self._clients.setdefault(client, _Client()).sessions[session.id] = session
        return session

    def find(self, name: str) -> Session:
        """The open session of that id. Raises InvalidRequest."""
        self._expire()
        name = name.partition(";")[0].strip()  # clients may send it with its expiry, as they received it
        if (session := self._open.get(name)) is None:
            raise InvalidRequest(
                f"The session {shorten(name)!r} is not open: it was closed, has expired, gave way to newer ones, or never "
                'existed; open one with {"requestType": "NEW_SESSION"}.',
                code="session_not_found",
            )
        self._clients[session.client].sessions.move_to_end(name)
        return session

    def close(self, name: str) -> Session:
        """Close a session and drop its images. Raises InvalidRequest."""
        session = self.find(name)
        self._end(session)
        return session

    def resolve(self, part: ImagePart, session: Session) -> ImagePart:
        """`part`, with its bytes if it refers to an image of the session by hash. Raises MediaInvalid."""
        digest = part.session_digest
        if digest is None:
            return part
        client = self._clients.get(session.client, _Client())
        if digest not in session.digests or digest not in client.images:
            raise MediaInvalid(
                "The session has no image with this hash; send the image again.",
                param=part.path,
                code="media_not_in_session",
            )
        client.images.move_to_end(digest)
        return ImagePart(client.images[digest], part.path)

    def keep(self, session: Session, digests: Iterable[tuple[str, bytes]]) -> None:
        """Keep images of the session by their SHA-256, unless it was closed meanwhile."""
        if self._open.get(session.id) is not session:
            return
        client = self._clients[session.client]
        for digest, data in digests:
            if digest not in session.digests:
                session.digests.add(digest)
                client.users[digest] += 1
            if digest not in client.images:
                client.images[digest] = data
                self._count(client, len(data))
            client.images.move_to_end(digest)
        while self._bytes > self.max_bytes:
            most = max(self._clients.values(), key=lambda one: one.bytes)
            _, gone = most.images.popitem(last=False)
            self._count(most, -len(gone))

    def _expire(self) -> None:
        now = self._now()
        # They are in the order of their opening, and so of their expiry.
        while self._open and (oldest := next(iter(self._open.values()))).expires <= now:
            self._end(oldest)

    def _end(self, session: Session) -> None:
        client = self._clients[session.client]
        del self._open[session.id], client.sessions[session.id]
        for digest in session.digests:
            client.users[digest] -= 1
            if client.users[digest]:
                continue
            del client.users[digest]
            if (data := client.images.pop(digest, None)) is not None:
                self._count(client, -len(data))
        if not client.sessions:
            del self._clients[session.client]

    def _count(self, client: "_Client", size: int) -> None:
        client.bytes += size
        self._bytes += size


@dataclass(slots=True)
class _Client:
    """What one client has: sessions and images by their use, the least recent first, and the sessions that use an image."""

    sessions: OrderedDict[str, Session] = field(default_factory=OrderedDict)
    images: OrderedDict[str, bytes] = field(default_factory=OrderedDict)
    users: Counter[str] = field(default_factory=Counter)
    bytes: int = 0


def sha256(data: bytes) -> str:
    """The name of an image in a session."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, slots=True)
class SessionResponse:
    """The response to opening or closing a session."""

    body: Mapping[str, Any]
    headers: Mapping[str, str]


def open_session(sessions: Sessions, client: str) -> SessionResponse:
    """The response to opening a session."""
    session = sessions.open(client)
    expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(session.expires))
    value = f"{session.id}; Expires={expires}"
    # LMI's name for it, and the one by which the AWS SDKs read it.
    headers = {"x-amzn-sagemaker-session-id": value, "x-amzn-sagemaker-new-session-id": value}
    return SessionResponse({"result": f"Session {session.id} created", "sessionId": session.id}, headers)


def open_or_close(sessions: Sessions | None, kind: Any, name: str | None, client: str = "") -> SessionResponse:
    """Open or close a session, as `requestType` says. Raises InvalidRequest."""
    if kind not in (NEW_SESSION, "CLOSE"):
        raise InvalidRequest("`requestType` must be NEW_SESSION or CLOSE.", param="requestType")
    if sessions is None:
        raise InvalidRequest("Stateful sessions are disabled (OPTION_ENABLE_STATEFUL_SESSIONS).", param="requestType")
    if kind == NEW_SESSION:
        return open_session(sessions, client)
    if not name:
        raise InvalidRequest("CLOSE needs the header X-Amzn-SageMaker-Session-Id, which names the session.")
    session = sessions.close(name)
    headers = {"x-amzn-sagemaker-closed-session-id": session.id}
    return SessionResponse({"result": f"Session {session.id} closed", "sessionId": session.id}, headers)
