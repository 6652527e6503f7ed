"""The table from error to status, and the error object: the one place that says which status a fault has."""

import json
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from handler import errors
from handler.errors import BodyTooLarge, LumiError, RequestError, ServerError, Unauthorized, UserCodeFailed

STATUS: dict[type[LumiError], int] = {
    errors.InvalidRequest: 400,
    errors.UnknownModel: 404,
    errors.UnknownAdapter: 404,
    errors.AdapterConflict: 409,
    errors.Unauthorized: 401,
    errors.NotAllowed: 403,
    errors.BodyTooLarge: 413,
    errors.MediaInvalid: 400,
    errors.MediaTooLarge: 400,
    errors.MediaForbidden: 400,
    errors.MediaUnreachable: 422,  # as vLLM's own server answers when what a request names cannot be fetched
    errors.ServerError: 500,
    errors.Unavailable: 503,
    errors.PredictTimeout: 504,
    errors.EngineDead: 500,
    errors.EngineFailure: 500,
    errors.UserCodeFailed: 500,
}
OTHERWISE_IN_LMI = {401, 403, 413}
LMI_STATUS = 424  # LMI's answer to every fault of the client and of user code; only with OPTION_ERROR_COMPAT=lmi


def answer(error: LumiError, *, as_lmi: bool) -> Response:
    """The response that tells of `error`; `as_lmi` with the status that LMI has for it."""
    status = STATUS[type(error)]
    content = json.loads(error_body(error))
    if as_lmi and isinstance(error, RequestError | UserCodeFailed) and status not in OTHERWISE_IN_LMI:
        status = LMI_STATUS
        content["code"] = LMI_STATUS
    headers = {}
    if isinstance(error, ServerError) and error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    if isinstance(error, BodyTooLarge):
        headers["connection"] = "close"  # the rest of the body is not worth reading
    if isinstance(error, Unauthorized):
        headers["www-authenticate"] = "Bearer"
    return JSONResponse(content, status_code=status, headers=headers)


def error_body(error: LumiError) -> bytes:
    """OpenAI's error object as JSON text. Xinference's client looks for the sentence in `detail`."""
    fault = {
        "message": str(error),
        "type": "invalid_request_error" if isinstance(error, RequestError) else "server_error",
        "param": getattr(error, "param", None),
        "code": getattr(error, "code", None),
    }
    return json.dumps({"error": fault, "detail": fault["message"]}).encode()


async def unrouted(request: Request, error: Exception) -> Response:
    """The answer where no route fits: 404, or 405 for another method."""
    assert isinstance(error, HTTPException)  # noqa: S101  # what the handler is registered for
    messages = {
        404: f"There is no route {request.url.path}; POST /v1/chat/completions or /invocations.",
        405: f"{request.method} is not allowed on {request.url.path}.",
    }
    fault: dict[str, Any] = {
        "message": messages.get(error.status_code, error.detail),
        "type": "invalid_request_error",
        "param": None,
        "code": "not_found" if error.status_code == 404 else "method_not_allowed",
    }
    body = {"error": fault, "detail": fault["message"]}
    return JSONResponse(body, status_code=error.status_code, headers=error.headers)
