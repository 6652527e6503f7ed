"""A path and a method -> the route: its endpoint, and what it needs before the endpoint is called."""

import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import compile_path

from container.http.custom_attributes import HEADER
from container.http.exchange import Exchange
from container.http.statuses import method_not_allowed, not_found
from handler.errors import InvalidRequest
from handler.payload.fields import shorten

Endpoint = Callable[[Request, Exchange], Awaitable[Response]]
INVOCATIONS = "/invocations"  # SageMaker's name for the route of all schemas
OTHER = "other"  # the name of all paths without a route, in the log and the metrics


@dataclass(frozen=True, slots=True)
class Route:
    """`path` is its name in the log and the metrics. `is_work` routes need a permit, `is_public` ones no API key;
    `is_lmi` ones answer errors as LMI does where the operator wants that."""

    path: str
    endpoint: Endpoint
    methods: tuple[str, ...] = ("POST",)
    is_work: bool = False
    is_public: bool = False
    is_lmi: bool = False
    pattern: re.Pattern[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pattern", compile_path(self.path)[0])


class Routes:
    """All routes of the server. The first that matches wins."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = tuple(routes)
        self._not_found = Route(OTHER, _respond_not_found)
        # A path without parameters is looked up; the others are matched one after the other.
        self._fixed = {
            (method, route.path): route
            for route in reversed(self._routes)
            if "{" not in route.path
            for method in route.methods
        }

    def find(self, method: str, path: str) -> tuple[Route, dict[str, Any]]:
        """The route and the parameters in the path. A path or method without a route gets one that responds with 404 or
        405."""
        method = "GET" if method == "HEAD" else method
        if (fixed := self._fixed.get((method, path))) is not None:
            return fixed, {}
        found = list(self._matching(path))
        for route, parameters in found:
            if method in route.methods:
                return route, parameters
        if not found:
            return self._not_found, {}
        allowed = list(dict.fromkeys(name for route, _ in found for name in route.methods))
        if "GET" in allowed:
            allowed.append("HEAD")
        return replace(found[0][0], endpoint=partial(_respond_method_not_allowed, tuple(allowed))), {}

    def find_named(self, name: str) -> Route:
        """The route that a request to /invocations names in its custom attributes: any that runs the model. Another
        name, of a route that manages the server for instance, gets a route that refuses the request."""
        if (found := self._fixed.get(("POST", name))) is not None and found.is_work:
            return found
        known = ", ".join(route.path for route in self._routes if route.is_work and "{" not in route.path)
        return replace(self._fixed["POST", INVOCATIONS], endpoint=partial(_refuse_name, name, known))

    def _matching(self, path: str) -> Iterator[tuple[Route, dict[str, Any]]]:
        for route in self._routes:
            if (match := route.pattern.match(path)) is not None:
                yield route, match.groupdict()


async def _respond_not_found(request: Request, _: Exchange) -> Response:
    return not_found(request.url.path)


async def _refuse_name(name: str, known: str, _: Request, __: Exchange) -> Response:
    raise InvalidRequest(
        f"`route={shorten(name)}` is not a route that a request to {INVOCATIONS} can name. Name one of {known}, or "
        f"leave it out.",
        param=HEADER,
        code="route_not_found",
    )


async def _respond_method_not_allowed(allowed: tuple[str, ...], request: Request, _: Exchange) -> Response:
    return method_not_allowed(request.method, request.url.path, allowed)
