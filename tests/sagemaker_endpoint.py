"""What stands between boto3 and a container on SageMaker: its routes, its headers and its event stream, on loopback."""

import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

FORWARDED = ("content-type", "accept", "x-amzn-sagemaker-session-id", "x-amzn-sagemaker-custom-attributes")
RETURNED = ("content-type", "x-amzn-sagemaker-new-session-id", "x-amzn-sagemaker-closed-session-id")


class Handler(BaseHTTPRequestHandler):
    """Passes a request on to the container whose address `container` is."""

    container = ""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name: self.headers[name] for name in FORWARDED if self.headers[name]}
        streamed = self.path.endswith("/invocations-response-stream")
        with httpx.stream("POST", f"{self.container}/invocations", content=body, headers=headers, timeout=60) as answer:
            if answer.status_code != 200:
                self._model_error(answer)
            elif streamed:
                self._events(answer)
            else:
                self._whole(answer)

    def _whole(self, answer: httpx.Response) -> None:
        data = answer.read()
        self.send_response(200)
        for name in RETURNED:
            if name in answer.headers:
                self.send_header(name, answer.headers[name])
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _events(self, answer: httpx.Response) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/vnd.amazon.eventstream")
        self.send_header("x-amzn-sagemaker-content-type", answer.headers["content-type"])
        self.send_header("connection", "close")
        self.end_headers()
        for piece in answer.iter_raw():
            self.wfile.write(event(piece))
        self.close_connection = True

    def _model_error(self, answer: httpx.Response) -> None:
        text = answer.read().decode()
        told = httpx.Response(424, json={"OriginalStatusCode": answer.status_code, "OriginalMessage": text}).content
        self.send_response(424)
        self.send_header("x-amzn-errortype", "ModelError")
        self.send_header("content-length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def endpoint(container: str) -> Iterator[str]:
    """The address of an endpoint whose container answers at `container`."""
    handler = type("Bound", (Handler,), {"container": container})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def event(payload: bytes) -> bytes:
    """One PayloadPart in AWS' event stream encoding: lengths, their CRC, headers, payload, CRC of it all."""
    names = {":event-type": "PayloadPart", ":content-type": "application/octet-stream", ":message-type": "event"}
    headers = b"".join(
        struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", 7, len(value)) + value.encode()
        for name, value in names.items()
    )
    prelude = struct.pack("!II", 12 + len(headers) + len(payload) + 4, len(headers))
    message = prelude + struct.pack("!I", zlib.crc32(prelude)) + headers + payload
    return message + struct.pack("!I", zlib.crc32(message))
