"""The routes to a model that user code owns: a request is handed over as it came, the answer sent as it is."""

from starlette.requests import Request
from starlette.responses import Response

from container.http.body import read_body
from container.http.edge import exchange
from container.http.framing import Framing
from container.http.statuses import error_body
from container.http.streaming import StreamedAnswer, while_connected, within
from handler.djl.call import Call
from handler.djl.own_model import OwnModel


async def called(model: OwnModel, request: Request, most_bytes: int, seconds: float) -> Response:
    """What the code answers. Raises RequestError, UserCodeFailed and PredictTimeout."""
    call = call_of(request, await read_body(request, most_bytes))
    answer = await within(seconds, while_connected(request.receive, model.answer(call)))
    if answer.pieces is None:
        return Response(answer.body, status_code=answer.code, headers=dict(answer.headers))
    try:
        first = await within(seconds, while_connected(request.receive, anext(answer.pieces, None)))
    except BaseException:
        await answer.pieces.aclose()
        raise
    events = answer.headers.get("content-type", "").startswith("text/event-stream")
    return StreamedAnswer(
        first,
        answer.pieces,
        framing=Framing.RAW_EVENTS if events else Framing.RAW,
        seconds=seconds,
        error_body=error_body,
        status=answer.code,
        headers=answer.headers,
    )


def call_of(request: Request, body: bytes) -> Call:
    """The request as user code sees it."""
    return Call(
        body=body,
        headers=dict(request.headers),
        parameters=tuple(request.query_params.multi_items()),
        id=exchange(request.scope).id,
    )
