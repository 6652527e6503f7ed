"""An S3 on loopback that serves gigabytes without memory: lists, ranges and ETags, of sparse files."""

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from socket import socket
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.http_server import Request, Response, http_server

MIB = 2**20
PAGE = 1000


@dataclass(frozen=True)
class Stored:
    path: Path
    etag: str
    part_bytes: int | None = None


@dataclass
class S3:
    """The one bucket, `bucket`, and how its server misbehaves."""

    url: str
    files: dict[str, Stored] = field(default_factory=dict)
    refuse: tuple[int, str] | None = None  # status and code of every response
    busy: int = 0  # how many responses are 503
    headers: dict[str, str] = field(default_factory=dict)  # of every object
    cut: int = 0  # how many responses break off in the middle
    damage: int = 0  # how many responses have a wrong byte
    pace: float = 0  # seconds between two pieces of a response
    sent: int = 0  # bytes of objects
    asked: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, key: str, path: Path, part_bytes: int | None = None) -> str:
        """Offer the file at `path`, as if uploaded in parts; the ETag."""
        self.files[key] = Stored(path, etag(path, part_bytes), part_bytes)
        return self.files[key].etag

    def take(self, fault: str) -> bool:
        """Whether this response has the fault."""
        with self.lock:
            left = getattr(self, fault)
            setattr(self, fault, max(0, left - 1))
            return left > 0


def etag(path: Path, part_bytes: int | None) -> str:
    size = path.stat().st_size
    if part_bytes is None:
        with path.open("rb") as file:
            return f'"{hashlib.file_digest(file, "md5").hexdigest()}"'
    count = -(-size // part_bytes)
    if path.stat().st_blocks:
        with path.open("rb") as file:
            digests = [hashlib.md5(file.read(part_bytes)).digest() for _ in range(count)]
    else:  # zeros throughout
        last = size - (count - 1) * part_bytes
        digests = [hashlib.md5(bytes(part_bytes)).digest()] * (count - 1) + [hashlib.md5(bytes(last)).digest()]
    return f'"{hashlib.md5(b"".join(digests)).hexdigest()}-{len(digests)}"'


def sparse(path: Path, size: int) -> Path:
    """A file of zeros that takes no space."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size)
    return path


@contextmanager
def s3_served(port: int = 0) -> Iterator[S3]:
    """A server for as long as the context; set AWS_ENDPOINT_URL to its `url`."""
    store = S3("")
    with http_server(partial(_respond, store), port) as store.url:
        yield store


def _respond(store: S3, request: Request) -> Response:
    address = urlsplit(request.path)
    store.asked.append(request.path)
    bucket, _, key = unquote(address.path).lstrip("/").partition("/")
    if store.refuse:
        return _error(*store.refuse)
    if store.take("busy"):
        return _error(503, "SlowDown")
    if bucket != "bucket":
        return _error(404, "NoSuchBucket")
    if not key:
        return _listing(store, {name: values[0] for name, values in parse_qs(address.query).items()})
    if key not in store.files:
        return _error(404, "NoSuchKey")
    part = "partNumber" in address.query  # only ever the first
    return _object(store, store.files[key], request, first_part=part)


def _listing(store: S3, query: dict[str, str]) -> Response:
    after = query.get("continuation-token", "")
    prefix = query.get("prefix", "")
    found = [key for key in sorted(store.files) if key.startswith(prefix) and key > after]
    below: set[str] = set()
    if "delimiter" in query:
        below = {prefix + key[len(prefix) :].split("/")[0] + "/" for key in found if "/" in key[len(prefix) :]}
        found = [key for key in found if "/" not in key[len(prefix) :]]
    page, more = found[:PAGE], len(found) > PAGE
    entries = "".join(
        f"<Contents><Key>{escape(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        f"<ETag>{store.files[key].etag}</ETag><Size>{store.files[key].path.stat().st_size}</Size></Contents>"
        for key in page
    )
    entries += "".join(f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in sorted(below))
    token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
    return _xml(
        200,
        f"<ListBucketResult><Name>bucket</Name><KeyCount>{len(page)}</KeyCount>"
        f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{entries}</ListBucketResult>",
    )


def _object(store: S3, stored: Stored, request: Request, *, first_part: bool) -> Response:
    tag, size = stored.etag, stored.path.stat().st_size
    if request.headers.get("If-Match", tag) != tag:
        return _error(412, "PreconditionFailed")
    first, last = 0, size - 1
    wanted = request.headers["Range"] or (first_part and f"bytes=0-{(stored.part_bytes or size) - 1}")
    if wanted:
        begin, end = wanted.removeprefix("bytes=").split("-")
        first, last = int(begin), min(int(end or last), last)
        if first > last:
            return _error(416, "InvalidRange")
    headers = {"ETag": tag, "Content-Length": str(last - first + 1), "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
    if wanted:
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    send = partial(_send, store, stored.path, first, last - first + 1)
    return Response(206 if wanted else 200, send, headers | store.headers)


def _send(store: S3, path: Path, first: int, count: int, connection: socket) -> None:
    cut = store.take("cut")
    count //= 1 + cut
    most = 128 * 2**10 if store.pace else count
    with path.open("rb") as file:
        if count and store.take("damage"):
            connection.sendall(b"\xff")
            first, count = first + 1, count - 1
        while count > 0:
            sent = connection.sendfile(file, first, min(most, count))
            with store.lock:
                store.sent += sent
            first, count = first + sent, count - sent
            time.sleep(store.pace)
    if cut:
        raise ConnectionAbortedError


def _error(status: int, code: str) -> Response:
    return _xml(status, f"<Error><Code>{code}</Code><Message>no</Message></Error>")


def _xml(status: int, text: str) -> Response:
    return Response(status, text.encode(), {"Content-Type": "application/xml"})
