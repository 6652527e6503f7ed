"""Requests that user code takes: passed on unchanged, its response sent unchanged."""

from starlette.requests import Request
from starlette.responses import Response

from container.http.framing import Framing
from container.http.streaming import StreamedResponse, run_for_client
from handler.djl.call import Call, CallResult
from handler.djl.code_handler import CodeHandler
from handler.djl.own_model import OwnModel


async def call_model(model: OwnModel, call: Call, request: Request, seconds: float) -> Response:
    """The response of the code. Raises RequestError, UserCodeFailed and PredictTimeout."""
    return await _respond(await run_for_client(request.receive, model.handle(call), seconds), request, seconds)


async def call_handler(handler: CodeHandler, call: Call, request: Request, seconds: float) -> Response | None:
    """The response of a handler that comes before vLLM; None if it leaves that to vLLM. Raises as `call_model` does."""
    result = await run_for_client(request.receive, handler.handle(call), seconds)
    return None if result is None else await _respond(result, request, seconds)


async def _respond(result: CallResult, request: Request, seconds: float) -> Response:
    if result.chunks is None:
        return Response(result.body, status_code=result.status, headers=dict(result.headers))
    try:
        first = await run_for_client(request.receive, anext(result.chunks, None), seconds)
    except BaseException:
        await result.chunks.aclose()
        raise
    is_events = result.headers.get("content-type", "").startswith("text/event-stream")
    return StreamedResponse(
        first,
        result.chunks,
        framing=Framing.RAW_EVENTS if is_events else Framing.RAW,
        seconds=seconds,
        status=result.status,
        headers=result.headers,
    )


def call_of(request: Request, body: bytes, request_id: str) -> Call:
    """The request as user code sees it."""
    return Call(
        body=body, headers=dict(request.headers), parameters=tuple(request.query_params.multi_items()), id=request_id
    )
