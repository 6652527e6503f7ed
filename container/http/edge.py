"""The ASGI application: API key, admission, the endpoint's response or that of an error, one log line, the metrics."""

import hmac
import logging
import time
from contextlib import nullcontext

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from container.http.admission import Admission, Permit
from container.http.custom_attributes import named_route
from container.http.exchange import CLIENT_GONE, Exchange, client_of
from container.http.load_report import FORMAT_HEADER, HEADER, load_report
from container.http.metrics import Metrics
from container.http.routes import INVOCATIONS, OTHER, Route, Routes
from container.http.statuses import error_response
from container.http.streaming import StreamedResponse
from container.logs import FIELDS
from handler.errors import OF_REQUEST, LumiError, ServerError, Unauthorized
from handler.payload.fields import shorten

log = logging.getLogger("lumi.access")


class Edge:
    """`api_key` is None where requests need no key. With `lmi_errors` LMI's routes respond to errors with its status."""

    def __init__(
        self, routes: Routes, admission: Admission, metrics: Metrics, *, api_key: str | None = None, lmi_errors: bool
    ) -> None:
        self._routes = routes
        self._admission = admission
        self._metrics = metrics
        self._api_key = api_key.encode() if api_key else None
        self._lmi_errors = lmi_errors
        self._open: set[Exchange] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        route, request = self._route(scope, receive)
        exchange = Exchange(route.path, request.headers)
        self._open.add(exchange)
        try:
            self._check_key(route, request.headers)
            with self._admission.permit(client_of(scope)) if route.is_work else nullcontext() as permit:
                response = await route.endpoint(request, exchange)
                if permit is not None:
                    self._report_load(exchange, response)
                    _release_when_computed(permit, response)
                await self._send(response, exchange, request, send)
        except ClientDisconnect:
            exchange.error = "client_gone"
        except Exception as error:  # noqa: BLE001  # the client gets a response and the log a line, whatever it is
            await self._send_error(error, route, exchange, request, send)
        finally:
            self._open.discard(exchange)
            self._report(route, exchange, scope)

    def _route(self, scope: Scope, receive: Receive) -> tuple[Route, Request]:
        if scope["path"] == INVOCATIONS and scope["method"] == "POST":
            name = named_route(Headers(scope=scope))
            if name is not None:
                return self._routes.find_named(name), Request({**scope, "path": name, "path_params": {}}, receive)
        route, parameters = self._routes.find(scope["method"], scope["path"])
        return route, Request({**scope, "path_params": parameters}, receive)

    @property
    def body_bytes(self) -> int:
        """What the bodies of all requests take that are not answered yet."""
        return sum(exchange.body_bytes for exchange in self._open)

    async def _send(self, response: Response, exchange: Exchange, request: Request, send: Send) -> None:
        async def send_and_note(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.start":
                exchange.status = message["status"]

        exchange.add_headers(response.headers)
        await response(request.scope, request.receive, send_and_note)

    def _report_load(self, exchange: Exchange, response: Response) -> None:
        if (wanted := exchange.headers.get(FORMAT_HEADER)) is None:
            return
        if (report := load_report(wanted, self._metrics)) is None:
            exchange.ignored = (*exchange.ignored, FORMAT_HEADER)
        else:
            response.headers[HEADER] = report

    def _check_key(self, route: Route, headers: Headers) -> None:
        if self._api_key is None or route.is_public:
            return
        scheme, _, credentials = headers.get("authorization", "").partition(" ")
        given = credentials.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        # Compared in constant time: the time must not reveal how much of a guess is right. Starlette decodes as Latin-1.
        if not hmac.compare_digest(given.encode("latin-1"), self._api_key):
            raise Unauthorized("The API key is missing or wrong; send it as `Authorization: Bearer <key>`.")

    async def _send_error(
        self, error: Exception, route: Route, exchange: Exchange, request: Request, send: Send
    ) -> None:
        known = error if isinstance(error, LumiError) else ServerError("The server failed on this request.")
        exchange.note(known)
        if not isinstance(error, LumiError):
            log.error(
                "a request failed unexpectedly", exc_info=error, extra={FIELDS: {"id": exchange.id}, **OF_REQUEST}
            )
        if exchange.status != CLIENT_GONE:  # the response had begun: the error was sent in the stream
            self._metrics.broken(exchange.route)
            return
        await self._send(error_response(known, as_lmi=self._lmi_errors and route.is_lmi), exchange, request, send)

    def _report(self, route: Route, exchange: Exchange, scope: Scope) -> None:
        seconds = time.perf_counter() - exchange.started
        self._metrics.count(exchange.route, exchange.status, seconds)
        # Health checks and scrapes come every few seconds: they are counted, but logged at the level debug only.
        level = logging.INFO if route.is_work or exchange.route == OTHER else logging.DEBUG
        if log.isEnabledFor(level):
            fields = {
                "method": scope["method"],
                "path": shorten(scope["path"]),
                "status": exchange.status,
                "seconds": round(seconds, 4),
                "id": exchange.id,
                "client_id": exchange.client_id,
                "ignored": [shorten(name) for name in exchange.ignored[:20]] or None,
                "error": exchange.error,
                "param": exchange.param,
            }
            log.log(level, "request", extra={FIELDS: fields})


def _release_when_computed(permit: Permit, response: Response) -> None:
    if isinstance(response, StreamedResponse):
        response.when_computed = permit.release
    else:
        permit.release()
