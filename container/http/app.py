"""The HTTP surface: which path leads to which endpoint."""

from collections.abc import Iterator

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from container.http.adapter_routes import AdapterRoutes
from container.http.admission import SPARE, Admission
from container.http.edge import Edge
from container.http.exchange import Exchange
from container.http.health import Health
from container.http.inference import Inference, Serving
from container.http.metrics import Metrics
from container.http.models import Models
from container.http.routes import INVOCATIONS, Route, Routes

# SageMaker's SDK in local mode pings 23 times, five seconds apart, and waits for each response without a limit: its ping is
# held while the model loads. It is known by the User-Agent of its HTTP library. All other health checks, SageMaker's own
# (two seconds) among them, get a response at once.
PATIENT_AGENT = "python-urllib3/"
PATIENT_SECONDS = 25


def build_app(health: Health, admission: Admission, metrics: Metrics, serving: Serving) -> Edge:
    """The ASGI application. `health` knows the service that responds."""
    metrics.watch(admission, lambda: health.batch_size)
    routes = Routes(build_routes(health, admission, metrics, serving))
    edge = Edge(routes, admission, metrics, api_key=serving.api_key, lmi_errors=serving.lmi_errors)
    metrics.watch_store(
        "bodies", lambda: edge.body_bytes, lambda: int(admission.limit * (1 + SPARE)) * serving.request_bytes
    )
    metrics.watch_store("sessions", lambda: health.sessions[0], lambda: health.sessions[1])
    metrics.watch_store("named_images", lambda: health.named_images[0], lambda: health.named_images[1])
    return edge


def build_routes(health: Health, admission: Admission, metrics: Metrics, serving: Serving) -> tuple[Route, ...]:
    """All routes of the server."""
    models = Models(health, admission)
    return (
        *_inference_routes(Inference(health, serving, models)),
        *_model_routes(models),
        *_adapter_routes(
            AdapterRoutes(health, models, allowed=serving.management or serving.platform_adapters),
            AdapterRoutes(health, models, allowed=serving.management),
        ),
        *_status_routes(health, has_key=serving.api_key is not None),
        *_load_routes(health, metrics, public=serving.public_metrics),
    )


def _inference_routes(inference: Inference) -> Iterator[Route]:
    yield Route("/v1/chat/completions", inference.infer, is_work=True)
    yield Route("/v1/chat/completions/batch", inference.infer_batch, is_work=True)  # vLLM's
    yield Route("/v1/completions", inference.infer, is_work=True)
    yield Route(INVOCATIONS, inference.infer, is_work=True, is_lmi=True)
    for version in ("", "/{version}"):  # LMI's
        yield Route(f"/predictions/{{model}}{version}", inference.infer, is_work=True, is_lmi=True)
    yield Route("/models/{model}/invoke", inference.infer_named, is_work=True, is_lmi=True)  # multi-model endpoints'
    yield Route("/tokenize", inference.tokenize, is_work=True)
    yield Route("/detokenize", inference.detokenize, is_work=True)


def _model_routes(models: Models) -> Iterator[Route]:
    yield Route("/v1/models", models.openai_list, ("GET",))
    yield Route("/v1/models/{model:path}", models.openai_one, ("GET",))
    yield Route("/models", models.lmi_list, ("GET",))
    yield Route("/models/{model}", models.lmi_one, ("GET",))
    yield Route("/execution-parameters", models.execution_parameters, ("GET",))


def _adapter_routes(of_sagemaker: AdapterRoutes, adapters: AdapterRoutes) -> Iterator[Route]:
    """`of_sagemaker` are for the paths that its inference components call; no client of an endpoint reaches those."""
    # Most have the model in their path as well, for clients of several models.
    for prefix, found in (("", of_sagemaker), ("/models/{model}", adapters)):
        yield Route(f"{prefix}/adapters", found.list, ("GET",))
        yield Route(f"{prefix}/adapters", found.register)
        yield Route(f"{prefix}/adapters/{{name:path}}/update", found.update)
        yield Route(f"{prefix}/adapters/{{name:path}}", found.describe, ("GET",))
        yield Route(f"{prefix}/adapters/{{name:path}}", found.unregister, ("DELETE",))
    yield Route("/v1/load_lora_adapter", adapters.load)
    yield Route("/v1/unload_lora_adapter", adapters.unload)
    yield Route("/models", adapters.change_models)
    yield Route("/models/{model}", adapters.change_models, ("PUT", "DELETE"))
    yield Route("/server/logging", adapters.change_log_level)


def _status_routes(health: Health, *, has_key: bool) -> Iterator[Route]:
    async def ping(request: Request, _: Exchange) -> Response:
        if request.headers.get("user-agent", "").startswith(PATIENT_AGENT):
            await health.wait_until_loaded(PATIENT_SECONDS)
        return JSONResponse(health.report(), status_code=200 if health.is_healthy else 503)

    async def cluster_auth(_: Request, __: Exchange) -> Response:
        """Xinference's client asks whether it needs a key."""
        return JSONResponse({"auth": has_key})

    # Health checks have no key, and a client that asks whether there is one has not sent it.
    yield Route("/ping", ping, ("GET", "POST"), is_public=True)
    yield Route("/health", ping, ("GET",), is_public=True)
    yield Route("/v1/cluster/auth", cluster_auth, ("GET",), is_public=True)


def _load_routes(health: Health, metrics: Metrics, *, public: bool) -> Iterator[Route]:
    async def scrape(request: Request, _: Exchange) -> Response:
        text, content_type = metrics.exposition(request.query_params.getlist("name[]"))
        return Response(text, media_type=content_type)

    async def load(_: Request, __: Exchange) -> Response:
        return JSONResponse({"server_load": metrics.in_flight})

    async def version(_: Request, __: Exchange) -> Response:
        return JSONResponse({"version": health.service().card.version})

    yield Route("/metrics", scrape, ("GET",), is_public=public)
    yield Route(
        "/server/metrics", scrape, ("GET", "POST"), is_public=public
    )  # LMI's; its documents say POST, its tests GET
    yield Route("/load", load, ("GET",))  # vLLM's, as the next
    yield Route("/version", version, ("GET",))
