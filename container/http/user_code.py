"""Requests for a model that user code owns: passed on unchanged, its response sent unchanged."""

from starlette.requests import Request
from starlette.responses import Response

from container.http.framing import Framing
from container.http.streaming import StreamedResponse, run_for_client
from handler.djl.call import Call
from handler.djl.own_model import OwnModel


async def call_model(model: OwnModel, call: Call, request: Request, seconds: float) -> Response:
    """The response of the code. Raises RequestError, UserCodeFailed and PredictTimeout."""
    answer = await run_for_client(request.receive, model.answer(call), seconds)
    if answer.pieces is None:
        return Response(answer.body, status_code=answer.code, headers=dict(answer.headers))
    try:
        first = await run_for_client(request.receive, anext(answer.pieces, None), seconds)
    except BaseException:
        await answer.pieces.aclose()
        raise
    is_events = answer.headers.get("content-type", "").startswith("text/event-stream")
    return StreamedResponse(
        first,
        answer.pieces,
        framing=Framing.RAW_EVENTS if is_events else Framing.RAW,
        seconds=seconds,
        status=answer.code,
        headers=answer.headers,
    )


def call_of(request: Request, body: bytes, request_id: str) -> Call:
    """The request as user code sees it."""
    return Call(
        body=body, headers=dict(request.headers), parameters=tuple(request.query_params.multi_items()), id=request_id
    )
