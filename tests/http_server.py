"""A real HTTP server on loopback that answers each request with what a function returns for it."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import socket


@dataclass(frozen=True)
class Request:
    """`path` is the target as it was sent, with its query; names of `headers` may have any case."""

    method: str
    path: str
    headers: Message
    body: bytes


@dataclass(frozen=True)
class Response:
    """`body` may be what writes it to the connection; it hangs up by raising a ConnectionError."""

    status: int = 200
    body: bytes | Callable[[socket], None] = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def http_server(respond: Callable[[Request], Response], port: int = 0) -> Iterator[str]:
    """The URL of a server for GET, HEAD and POST; `respond` runs in a thread of each connection."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            response = respond(Request(self.command, self.path, self.headers, body))
            self.send_response(response.status)
            if isinstance(response.body, bytes):
                self.send_header("Content-Length", str(len(response.body)))
            for name, value in response.headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            try:
                if isinstance(response.body, bytes):
                    self.wfile.write(response.body)
                else:
                    response.body(self.connection)
            except ConnectionError:  # either end has hung up
                self.close_connection = True

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
