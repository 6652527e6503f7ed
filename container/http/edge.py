"""What surrounds every exchange: its id, the API key, admission, the answer to an error, one log line, the metrics."""

import hmac
import logging
import re
import time
import uuid
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from container.http.admission import Admission
from container.http.metrics import Metrics
from container.logs import FIELDS
from handler.errors import LumiError, ServerError, Unauthorized
from handler.payload.fields import short

log = logging.getLogger("lumi.access")

CLIENT_GONE = 499  # no answer was sent; the number that access logs use for it
INFERENCE_ID = "x-amzn-sagemaker-inference-id"
_FIT_FOR_A_HEADER = re.compile(r"[\x21-\x7e]{1,200}")
_UNFIT_FOR_A_HEADER = re.compile(r"[^\x20-\x7e]")


@dataclass(slots=True)
class Exchange:
    """One request and its answer, as the log will tell it."""

    route: str
    client_id: str | None  # what the client calls it
    id: str = field(default_factory=lambda: uuid.uuid4().hex)  # what the engine calls it
    started: float = field(default_factory=time.perf_counter)
    status: int = CLIENT_GONE
    ignored: tuple[str, ...] = ()
    error: str | None = None


def exchange(scope: Scope) -> Exchange:
    """The exchange that a route is part of."""
    found: Exchange = scope["lumi.exchange"]
    return found


class Edge:
    """ASGI middleware. `route_of` names a path's route, for the log and the metrics; routes in `work` need a permit, and
    all but those `open_to_all` the API key if there is one. `answer` turns an error into a response for a route."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        admission: Admission,
        metrics: Metrics,
        batch_size: int,
        route_of: Callable[[str], str],
        work: frozenset[str],
        open_to_all: frozenset[str] = frozenset(),
        api_key: str | None = None,
        answer: Callable[[LumiError, str], Response],
    ) -> None:
        self._app = app
        self._admission = admission
        self._metrics = metrics
        self._batch_size = batch_size
        self._route_of = route_of
        self._work = work
        self._open_to_all = open_to_all
        self._api_key = api_key.encode() if api_key else None
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        one = self._open(scope)
        working = one.route in self._work
        try:
            self._check_key(one, scope)
            with self._admission.permit() if working else nullcontext():
                if working:
                    self._metrics.load(self._admission.held, self._batch_size)
                await self._app(scope, receive, self._sender(scope, one, send))
        except ClientDisconnect:
            one.error = "client_gone"
        except Exception as error:  # noqa: BLE001  # the edge: whatever it is, the client gets an answer and the log a line
            await self._fail(one, error, scope, receive, send)
        finally:
            self._close(one, scope, working=working)

    def _open(self, scope: Scope) -> Exchange:
        headers = Headers(scope=scope)
        client_id = headers.get("x-request-id") or headers.get(INFERENCE_ID)
        if client_id and not _FIT_FOR_A_HEADER.fullmatch(client_id):
            client_id = None
        one: Exchange = Exchange(route=self._route_of(scope["path"]), client_id=client_id)
        scope["lumi.exchange"] = one
        return one

    def _check_key(self, one: Exchange, scope: Scope) -> None:
        if self._api_key is None or one.route in self._open_to_all:
            return
        headers = Headers(scope=scope)
        scheme, _, credentials = headers.get("authorization", "").partition(" ")
        given = credentials.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        # In constant time: how long a comparison takes would tell how much of a guess was right.
        if not hmac.compare_digest(given.encode("latin-1"), self._api_key):  # as it came over the wire
            raise Unauthorized("The API key is missing or wrong; send it as `Authorization: Bearer <key>`.")

    def _sender(self, scope: Scope, one: Exchange, send: Send) -> Send:
        async def sender(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = one.client_id or one.id
                if inference_id := Headers(scope=scope).get(INFERENCE_ID):
                    headers[INFERENCE_ID] = inference_id if _FIT_FOR_A_HEADER.fullmatch(inference_id) else one.id
                if one.ignored:
                    headers["x-lumi-ignored"] = _UNFIT_FOR_A_HEADER.sub("?", ", ".join(one.ignored))[:1000]
                await send(message)
                one.status = message["status"]
                return
            await send(message)

        return sender

    async def _fail(self, one: Exchange, error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
        known = error if isinstance(error, LumiError) else ServerError("The server failed on this request.")
        one.error = short(str(known))
        if not isinstance(error, LumiError):
            log.error("a request failed for an unforeseen reason", exc_info=error, extra={FIELDS: {"id": one.id}})
        if one.status != CLIENT_GONE:  # the answer had begun; the error has travelled in it
            self._metrics.broken(one.route)
        else:
            await self._answer(known, one.route)(scope, receive, self._sender(scope, one, send))

    def _close(self, one: Exchange, scope: Scope, *, working: bool) -> None:
        seconds = time.perf_counter() - one.started
        self._metrics.count(one.route, one.status, seconds)
        if working:
            self._metrics.load(self._admission.held, self._batch_size)
        # Health checks and scrapes come every few seconds; they are counted, but not worth a line each.
        level = logging.INFO if working or one.route == "other" else logging.DEBUG
        if log.isEnabledFor(level):
            log.log(level, "request", extra={FIELDS: _line(one, scope, seconds)})


def _line(one: Exchange, scope: Scope, seconds: float) -> dict[str, Any]:
    return {
        "method": scope["method"],
        "path": scope["path"],
        "status": one.status,
        "seconds": round(seconds, 4),
        "id": one.id,
        "client_id": one.client_id,
        "ignored": one.ignored[:20] or None,
        "error": one.error,
    }
