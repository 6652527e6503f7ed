"""The table from error to status, and the error object of responses."""

import json
from typing import Any

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
    errors.RequestQuarantined: 422,  # clients repeat a 5xx, and each repetition would cost a restart
    errors.BodyTooLarge: 413,
    errors.MediaInvalid: 400,
    errors.MediaTooLarge: 400,
    errors.MediaForbidden: 400,
    errors.MediaUnreachable: 422,  # as from vLLM's own server when media cannot be fetched
    errors.ServerError: 500,
    errors.Unavailable: 503,
    errors.PredictTimeout: 504,
    errors.EngineDead: 500,
    errors.EngineFailure: 500,
    errors.UserCodeFailed: 500,
    errors.UserCodeOutOfMemory: 507,  # as in LMI
}
LMI_EXCEPTIONS = {401, 403, 413, 507}
# LMI's status for all errors of clients and of user code; only with OPTION_ERROR_COMPAT=lmi. The body is that of its async
# handler: create_non_stream_output(error=..., code=...) in djl-serving d21927c4 (2026-06-24).
LMI_STATUS = 424


def error_response(error: LumiError, *, as_lmi: bool) -> Response:
    """The response for `error`; with the status of LMI if `as_lmi`."""
    status = STATUS[type(error)]
    content = json.loads(error_body(error))
    if as_lmi and isinstance(error, RequestError | UserCodeFailed) and status not in LMI_EXCEPTIONS:
        status = LMI_STATUS
        content = {"error": str(error), "code": status}
    headers = {}
    if isinstance(error, ServerError) and error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    if isinstance(error, BodyTooLarge):
        headers["connection"] = "close"  # the rest of the body is not read
    if isinstance(error, Unauthorized):
        headers["www-authenticate"] = "Bearer"
    return JSONResponse(content, status_code=status, headers=headers)


def error_body(error: LumiError) -> bytes:
    """OpenAI's error object as JSON text. Xinference's client reads the message from `detail`."""
    fault = {
        "message": str(error),
        "type": "invalid_request_error" if isinstance(error, RequestError) else "server_error",
        "param": getattr(error, "param", None),
        "code": getattr(error, "code", None),
    }
    return json.dumps({"error": fault, "detail": fault["message"]}).encode()


def not_found(path: str) -> Response:
    """The response for a path without a route."""
    message = f"There is no route {path}; POST /v1/chat/completions or /invocations."
    return JSONResponse(_error_object(message, "not_found"), status_code=404)


def method_not_allowed(method: str, path: str, allowed: tuple[str, ...]) -> Response:
    """The response for a method that the route at `path` does not have."""
    content = _error_object(f"{method} is not allowed on {path}.", "method_not_allowed")
    return JSONResponse(content, status_code=405, headers={"allow": ", ".join(allowed)})


def _error_object(message: str, code: str) -> dict[str, Any]:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return {"error": error, "detail": message}
