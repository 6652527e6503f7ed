"""What stands between boto3 and a container on SageMaker: its routes, its headers and its event stream, on loopback."""

import json
import struct
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from socket import socket

import httpx

from tests.http_server import Request, Response, http_server

FORWARDED = ("content-type", "accept", "x-amzn-sagemaker-session-id", "x-amzn-sagemaker-custom-attributes")
RETURNED = ("content-type", "x-amzn-sagemaker-new-session-id", "x-amzn-sagemaker-closed-session-id")


@contextmanager
def endpoint(container: str) -> Iterator[str]:
    """The address of an endpoint whose container answers at `container`."""

    def respond(request: Request) -> Response:
        headers = {name: request.headers[name] for name in FORWARDED if request.headers[name]}
        url = f"{container}/invocations"
        answer = client.send(client.build_request("POST", url, content=request.body, headers=headers), stream=True)
        if answer.status_code != 200:
            return _model_error(answer)
        if request.path.endswith("/invocations-response-stream"):
            return _events(answer)
        returned = {name: answer.headers[name] for name in RETURNED if name in answer.headers}
        return Response(200, answer.read(), returned)

    with httpx.Client(timeout=60) as client, http_server(respond) as url:
        yield url


def _events(answer: httpx.Response) -> Response:
    def write(connection: socket) -> None:
        with closing(answer):
            for chunk in answer.iter_raw():
                connection.sendall(event(chunk))

    headers = {
        "content-type": "application/vnd.amazon.eventstream",
        "x-amzn-sagemaker-content-type": answer.headers["content-type"],
        "connection": "close",
    }
    return Response(200, write, headers)


def _model_error(answer: httpx.Response) -> Response:
    error = {"OriginalStatusCode": answer.status_code, "OriginalMessage": answer.read().decode()}
    return Response(424, json.dumps(error).encode(), {"x-amzn-errortype": "ModelError"})


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
