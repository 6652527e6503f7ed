"""The HTTP surface: which route leads where. The one room that says HTTP statuses."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from container.admission import Admission
from container.app.inference import Inference, Serving
from container.app.statuses import answer, unrouted
from container.edge import Edge
from container.health import Health, Phase
from container.metrics import Metrics
from handler.errors import LumiError

WORK = frozenset({"/invocations", "/v1/chat/completions"})


class App:
    """The routes; `health` says who answers."""

    def __init__(self, health: Health, admission: Admission, metrics: Metrics, serving: Serving) -> None:
        self._health = health
        self._admission = admission
        self._metrics = metrics
        self._serving = serving

    def asgi(self) -> Starlette:
        """The ASGI application."""
        inference = Inference(self._health, self._serving)
        routes = [
            Route("/v1/chat/completions", inference.infer, methods=["POST"]),
            Route("/invocations", inference.infer, methods=["POST"]),  # SageMaker's name for it
            Route("/v1/models", self._models, methods=["GET"]),
            Route("/ping", self._ping, methods=["GET", "POST"]),
            Route("/health", self._ping, methods=["GET"]),
            Route("/metrics", self._exposition, methods=["GET"]),
        ]
        edge = Middleware(
            Edge,
            admission=self._admission,
            metrics=self._metrics,
            batch_size=self._serving.batch_size,
            work=WORK,
            routes=frozenset(route.path for route in routes),
            answer=self._answer,
        )
        starlette = Starlette(routes=routes, middleware=[edge], exception_handlers={HTTPException: unrouted})
        starlette.router.redirect_slashes = False  # a redirect would be built from the client's Host header
        return starlette

    async def _models(self, _: Request) -> Response:
        card = self._health.chat().card
        models = [
            {
                "id": name,
                "object": "model",
                "created": card.created,
                "owned_by": "lumi",
                "root": card.names[0],
                "max_model_len": card.max_model_len,
            }
            for name in card.names
        ]
        return JSONResponse({"object": "list", "data": models})

    async def _ping(self, _: Request) -> Response:
        return JSONResponse(self._health.report(), status_code=200 if self._health.phase is Phase.READY else 503)

    async def _exposition(self, _: Request) -> Response:
        text, content_type = self._metrics.exposition()
        return Response(text, media_type=content_type)

    def _answer(self, error: LumiError, path: str) -> Response:
        return answer(error, as_lmi=self._serving.lmi_errors and path == "/invocations")
