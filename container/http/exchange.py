"""One HTTP request and its response: what the endpoints report, and the log line and the metrics show."""

import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Scope

from handler.errors import LumiError, RequestError
from handler.payload.fields import shorten

CLIENT_GONE = 499  # no response was sent; the number that access logs use for it
INFERENCE_ID = "x-amzn-sagemaker-inference-id"
_VALID_ID = re.compile(r"[\x21-\x7e]{1,200}")
_INVALID_IN_HEADER = re.compile(r"[^\x20-\x7e]")


def client_of(scope: Scope) -> str:
    """The address that the connection comes from. Behind a proxy, as on SageMaker, all clients have the proxy's."""
    client = scope.get("client")
    return client[0] if client else ""


@dataclass(slots=True, eq=False)
class Exchange:
    """`id` is what the engine calls the request. `status` is that of the response once it has begun, `body_bytes` what has
    been read of the request's body."""

    route: str
    headers: Headers
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    started: float = field(default_factory=time.perf_counter)
    status: int = CLIENT_GONE
    body_bytes: int = 0
    ignored: tuple[str, ...] = ()
    session_headers: Mapping[str, str] = field(default_factory=dict)  # of a session that was opened for the request
    error: str | None = None
    param: str | None = None

    def note(self, error: LumiError) -> None:
        """Have the log line say what went wrong. Of the client's faults it has the code and the place: their messages quote
        the request, and only the client gets them."""
        if isinstance(error, RequestError):
            self.error, self.param = error.code, error.param and shorten(error.param)
        else:
            self.error = shorten(str(error))

    @property
    def client_id(self) -> str | None:
        """What the client calls the request."""
        found = self.headers.get("x-request-id") or self.headers.get(INFERENCE_ID)
        return found if found and _VALID_ID.fullmatch(found) else None

    def add_headers(self, headers: MutableHeaders) -> None:
        """Add the ids of the request, and the fields that were ignored, to the headers of the response."""
        headers["x-request-id"] = self.client_id or self.id
        if inference_id := self.headers.get(INFERENCE_ID):
            headers[INFERENCE_ID] = inference_id if _VALID_ID.fullmatch(inference_id) else self.id
        headers.update(self.session_headers)
        if self.ignored:
            headers["x-lumi-ignored"] = _INVALID_IN_HEADER.sub("?", ", ".join(self.ignored[:100]))[:1000]
