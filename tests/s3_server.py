"""An S3 on loopback, small enough to be asked for gigabytes: lists, ranges and ETags, of sparse files, with no memory."""

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

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
    refuse: tuple[int, str] | None = None  # status and code of every answer
    headers: dict[str, str] = field(default_factory=dict)  # of every object
    cut: int = 0  # how many answers break off in the middle
    damage: int = 0  # how many answers have a wrong byte
    pace: float = 0  # seconds between two pieces of an answer
    sent: int = 0  # bytes of objects
    asked: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, key: str, path: Path, part_bytes: int | None = None) -> str:
        """Offer the file at `path`, as if uploaded in parts; the ETag."""
        self.files[key] = Stored(path, etag(path, part_bytes), part_bytes)
        return self.files[key].etag

    def take(self, fault: str) -> bool:
        """Whether this answer shall have the fault."""
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
    server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
    server.daemon_threads = True
    store = server.store = S3(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    @property
    def store(self) -> S3:
        return self.server.store

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        address = urlsplit(self.path)
        self.store.asked.append(self.path)
        bucket, _, key = unquote(address.path).lstrip("/").partition("/")
        if self.store.refuse:
            return self._refuse(*self.store.refuse)
        if bucket != "bucket":
            return self._refuse(404, "NoSuchBucket")
        if not key:
            return self._list({name: values[0] for name, values in parse_qs(address.query).items()})
        if key not in self.store.files:
            return self._refuse(404, "NoSuchKey")
        part = "partNumber" in address.query  # only ever the first
        return self._object(self.store.files[key], first_part=part)

    def _list(self, query):
        after = query.get("continuation-token", "")
        prefix = query.get("prefix", "")
        found = [key for key in sorted(self.store.files) if key.startswith(prefix) and key > after]
        below: set[str] = set()
        if "delimiter" in query:
            below = {prefix + key[len(prefix) :].split("/")[0] + "/" for key in found if "/" in key[len(prefix) :]}
            found = [key for key in found if "/" not in key[len(prefix) :]]
        page, more = found[:PAGE], len(found) > PAGE
        entries = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>{self.store.files[key].etag}</ETag><Size>{self.store.files[key].path.stat().st_size}</Size></Contents>"
            for key in page
        )
        entries += "".join(
            f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in sorted(below)
        )
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        self._answer(
            200,
            f"<ListBucketResult><Name>bucket</Name><KeyCount>{len(page)}</KeyCount>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{entries}</ListBucketResult>",
        )

    def _object(self, stored, *, first_part):
        path, tag, size = stored.path, stored.etag, stored.path.stat().st_size
        if self.headers.get("If-Match", tag) != tag:
            return self._refuse(412, "PreconditionFailed")
        first, last = 0, size - 1
        wanted = self.headers.get("Range") or (first_part and f"bytes=0-{(stored.part_bytes or size) - 1}")
        if wanted:
            begin, end = wanted.removeprefix("bytes=").split("-")
            first, last = int(begin), min(int(end or last), last)
            if first > last:
                return self._refuse(416, "InvalidRange")
        self.send_response(206 if wanted else 200)
        for name, value in {"ETag": tag, "Content-Length": str(last - first + 1), **self.store.headers}.items():
            self.send_header(name, value)
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.end_headers()
        if self.command == "GET":
            self._send(path, first, last - first + 1)
        return None

    def _send(self, path, first, count):
        if self.store.take("cut"):
            count //= 2
            self.close_connection = True
        piece = 128 * 2**10 if self.store.pace else count
        with path.open("rb") as file:
            if count and self.store.take("damage"):
                self.wfile.write(b"\xff")
                first, count = first + 1, count - 1
            try:
                while count > 0:
                    sent = self.connection.sendfile(file, first, min(piece, count))
                    with self.store.lock:
                        self.store.sent += sent
                    first, count = first + sent, count - sent
                    time.sleep(self.store.pace)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

    def _refuse(self, status, code):
        self._answer(status, f"<Error><Code>{code}</Code><Message>no</Message></Error>")

    def _answer(self, status, text):
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)
