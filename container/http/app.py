"""The HTTP surface: which route leads where. The one room that says HTTP statuses."""

from collections.abc import Iterator

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, compile_path

from container.http.adapter_routes import AdapterRoutes
from container.http.admission import Admission
from container.http.edge import Edge
from container.http.health import Health
from container.http.inference import Inference, Serving
from container.http.metrics import Metrics
from container.http.models import Models
from container.http.statuses import answer, unrouted
from handler.errors import LumiError

# Routes that LMI has as well, and answers in its own way.
LMI_ROUTES = ("/invocations", "/predictions/{model}", "/models/{model}/invoke")
WORK = frozenset({*LMI_ROUTES, "/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize"})
# To whoever asks: health checks carry no key, and a client that asks whether there is one has not sent it.
OPEN = frozenset({"/ping", "/health", "/v1/cluster/auth"})

# SageMaker's SDK in local mode asks 23 times, five seconds apart, with all the patience in the world for each answer: its
# question is held while the model loads. It is known by the User-Agent of the library that it asks with. SageMaker's own
# health check (two seconds) and everybody else's are answered at once.
PATIENT_AGENT = "python-urllib3/"
PATIENT_SECONDS = 25


class App:
    """The routes; `health` says who answers."""

    def __init__(self, health: Health, admission: Admission, metrics: Metrics, serving: Serving) -> None:
        self._health = health
        self._admission = admission
        self._metrics = metrics
        self._serving = serving

    def asgi(self) -> Starlette:
        """The ASGI application."""
        routes = self._routes()
        edge = Middleware(
            Edge,
            admission=self._admission,
            metrics=self._metrics,
            batch_size=self._serving.batch_size,
            route_of=_Names(routes).of,
            work=WORK,
            open_to_all=OPEN,
            api_key=self._serving.api_key,
            answer=self._answer,
        )
        starlette = Starlette(routes=routes, middleware=[edge], exception_handlers={HTTPException: unrouted})
        starlette.router.redirect_slashes = False  # a redirect would be built from the client's Host header
        return starlette

    def _routes(self) -> list[Route]:
        models = Models(self._health, self._serving.batch_size)
        inference = Inference(self._health, self._serving, models)
        adapters = AdapterRoutes(self._health, models, allowed=self._serving.management)
        return [
            *_adapter_routes(adapters),
            Route("/v1/chat/completions", inference.infer, methods=["POST"]),
            Route("/v1/completions", inference.infer, methods=["POST"]),
            Route("/invocations", inference.infer, methods=["POST"]),  # SageMaker's name for it
            Route("/predictions/{model}", inference.infer, methods=["POST"]),  # LMI's
            Route("/models/{model}/invoke", inference.infer_named, methods=["POST"]),  # multi-model endpoints'
            Route("/tokenize", inference.tokenize, methods=["POST"]),
            Route("/detokenize", inference.detokenize, methods=["POST"]),
            Route("/v1/models", models.openai_list, methods=["GET"]),
            Route("/v1/models/{model:path}", models.openai_one, methods=["GET"]),
            Route("/v1/cluster/auth", self._cluster_auth, methods=["GET"]),
            Route("/models", models.sagemaker_list, methods=["GET"]),
            Route("/models/{model}", models.sagemaker_one, methods=["GET"]),
            Route("/execution-parameters", models.execution_parameters, methods=["GET"]),
            Route("/ping", self._ping, methods=["GET", "POST"]),
            Route("/health", self._ping, methods=["GET"]),
            Route("/metrics", self._exposition, methods=["GET"]),
        ]

    async def _ping(self, request: Request) -> Response:
        if request.headers.get("user-agent", "").startswith(PATIENT_AGENT):
            await self._health.while_loading(PATIENT_SECONDS)
        return JSONResponse(self._health.report(), status_code=200 if self._health.well else 503)

    async def _cluster_auth(self, _: Request) -> Response:
        """Xinference's client asks whether its key is wanted."""
        return JSONResponse({"auth": self._serving.api_key is not None})

    async def _exposition(self, _: Request) -> Response:
        text, content_type = self._metrics.exposition()
        return Response(text, media_type=content_type)

    def _answer(self, error: LumiError, route: str) -> Response:
        return answer(error, as_lmi=self._serving.lmi_errors and route in LMI_ROUTES)


def _adapter_routes(adapters: AdapterRoutes) -> Iterator[Route]:
    # Most name the model in their path as well, for clients of several models.
    for prefix in ("", "/models/{model}"):
        yield Route(f"{prefix}/adapters", adapters.list, methods=["GET"])
        yield Route(f"{prefix}/adapters", adapters.register, methods=["POST"])
        yield Route(f"{prefix}/adapters/{{name:path}}/update", adapters.update, methods=["POST"])
        yield Route(f"{prefix}/adapters/{{name:path}}", adapters.describe, methods=["GET"])
        yield Route(f"{prefix}/adapters/{{name:path}}", adapters.unregister, methods=["DELETE"])
    yield Route("/v1/load_lora_adapter", adapters.load, methods=["POST"])
    yield Route("/v1/unload_lora_adapter", adapters.unload, methods=["POST"])
    yield Route("/models", adapters.change_models, methods=["POST"])
    yield Route("/models/{model}", adapters.change_models, methods=["PUT", "DELETE"])
    yield Route("/server/logging", adapters.change_log_level, methods=["POST"])


class _Names:
    """The names that routes have in the log and the metrics: their paths as they were written above."""

    def __init__(self, routes: list[Route]) -> None:
        self._exact = frozenset(route.path for route in routes if "{" not in route.path)
        # All of them: Starlette's patterns let a line break follow a path, and what they match is to be counted.
        self._patterns = [(compile_path(route.path)[0], route.path) for route in routes]

    def of(self, path: str) -> str:
        if path in self._exact:
            return path
        return next((name for pattern, name in self._patterns if pattern.match(path)), "other")
