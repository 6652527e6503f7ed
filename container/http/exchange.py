"""One HTTP request and its response: what the endpoints report, and the log line and the metrics show."""

import re
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Message, Scope, Send

CLIENT_GONE = 499  # no response was sent; the number that access logs use for it
INFERENCE_ID = "x-amzn-sagemaker-inference-id"
_VALID_ID = re.compile(r"[\x21-\x7e]{1,200}")
_INVALID_IN_HEADER = re.compile(r"[^\x20-\x7e]")


@dataclass(slots=True)
class Exchange:
    """`id` is what the engine calls the request, `client_id` what the client calls it."""

    scope: Scope
    route: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    started: float = field(default_factory=time.perf_counter)
    status: int = CLIENT_GONE
    ignored: tuple[str, ...] = ()
    error: str | None = None

    @property
    def has_begun(self) -> bool:
        """Whether the response has begun, so that its status cannot change."""
        return self.status != CLIENT_GONE

    @property
    def client_id(self) -> str | None:
        headers = Headers(scope=self.scope)
        found = headers.get("x-request-id") or headers.get(INFERENCE_ID)
        return found if found and _VALID_ID.fullmatch(found) else None

    def wrap(self, send: Send) -> Send:
        """`send`, with our headers added to the response, and its status noted."""

        async def wrapped(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add_headers(MutableHeaders(scope=message))
                await send(message)
                self.status = message["status"]
            else:
                await send(message)

        return wrapped

    def log_fields(self, seconds: float) -> dict[str, Any]:
        """What the log line of the request shows."""
        return {
            "method": self.scope["method"],
            "path": self.scope["path"],
            "status": self.status,
            "seconds": round(seconds, 4),
            "id": self.id,
            "client_id": self.client_id,
            "ignored": self.ignored[:20] or None,
            "error": self.error,
        }

    def _add_headers(self, headers: MutableHeaders) -> None:
        headers["x-request-id"] = self.client_id or self.id
        if inference_id := Headers(scope=self.scope).get(INFERENCE_ID):
            headers[INFERENCE_ID] = inference_id if _VALID_ID.fullmatch(inference_id) else self.id
        if self.ignored:
            headers["x-lumi-ignored"] = _INVALID_IN_HEADER.sub("?", ", ".join(self.ignored))[:1000]
