"""All errors of a start or a request.

    LumiError
    ├── StartError                the start fails: because of an option, the model or the machine
    │   └── OptionError           an option is unknown, malformed or in conflict
    ├── RequestError              the client's fault (4xx); carries `param`, the JSON path, and `code`
    │   ├── InvalidRequest        the payload, or a value in it, is not valid
    │   ├── UnknownModel          `model` is not served
    │   ├── UnknownAdapter        the adapter is not served
    │   ├── AdapterConflict       an adapter with that name is already served
    │   ├── Unauthorized          no API key, or a wrong one
    │   ├── NotAllowed            the operator has not enabled such requests
    │   ├── RequestQuarantined    the engine has died of this request
    │   ├── BodyTooLarge          more bytes than `max_request_size`
    │   └── MediaError            an image (or other media) of the payload
    │       ├── MediaInvalid      bad base64, not an image, truncated, unknown scheme
    │       ├── MediaTooLarge     bytes, pixels or count over a limit
    │       ├── MediaForbidden    an address or host that this server may not contact
    │       └── MediaUnreachable  the host did not respond, responded with an error, or was too slow
    └── ServerError               our fault (5xx); the message is safe to show, the cause is logged
        ├── Unavailable           loading, draining or full: worth a retry
        ├── PredictTimeout        the response took longer than `predict_timeout`
        ├── EngineDead            the engine process has died, and this one ends, too
        ├── EngineFailure         the engine failed on this request
        └── UserCodeFailed        the user's model.py failed on this request
            └── UserCodeOutOfMemory    for want of memory

The status codes are in a table of `container/http/statuses.py`.
"""

import traceback

# `extra=` of a log record about a single request: the messages of foreign exceptions may quote it, so that only where they
# were raised is logged.
OF_REQUEST = {"of_request": True}


class LumiError(Exception):
    """Base of all errors that Lumi raises itself; `str(error)` is a message for the person who caused it."""


class StartError(LumiError):
    """The process refuses to start. The message says what is wrong, where, and the cure."""


class OptionError(StartError):
    """An option is unknown, malformed or in conflict with another. The message names it, its value and the cure."""


class RequestError(LumiError):
    """The client's fault.

    `param` is the JSON path of the culprit (`messages[0].content[1].image_url.url`), or None where the whole body is at
    fault. `code` is a short stable word that a program may branch on.
    """

    code = "invalid_request"

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code or type(self).code


class InvalidRequest(RequestError):
    """The payload is malformed or a value in it is out of range."""


class UnknownModel(RequestError):
    """`model` is not served here."""

    code = "model_not_found"


class UnknownAdapter(RequestError):
    """No adapter of that name is served."""

    code = "adapter_not_found"


class AdapterConflict(RequestError):
    """An adapter of that name is served already."""

    code = "adapter_exists"


class Unauthorized(RequestError):
    """The request has no API key, or a wrong one."""

    code = "invalid_api_key"


class NotAllowed(RequestError):
    """The operator has not switched on what the request would change."""

    code = "not_allowed"


class RequestQuarantined(RequestError):
    """The engine has died of a request with this content, and does not compute it again."""

    code = "request_quarantined"


class BodyTooLarge(RequestError):
    """The request body has more bytes than `max_request_size`."""

    code = "request_too_large"


class MediaError(RequestError):
    """An image or other media of the request is at fault."""

    code = "media_error"


class MediaInvalid(MediaError):
    """The media is not what it claims to be."""

    code = "media_invalid"


class MediaTooLarge(MediaError):
    """The media is over a limit of bytes, pixels or count."""

    code = "media_too_large"


class MediaForbidden(MediaError):
    """The media's address may not be contacted from this server."""

    code = "media_forbidden"


class MediaUnreachable(MediaError):
    """The media's address did not respond in time, or responded with an error."""

    code = "media_unreachable"


class ServerError(LumiError):
    """Our fault. `code` is a short stable word; `retry_after` is in seconds, where a retry makes sense."""

    code = "internal_error"

    def __init__(self, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(ServerError):
    """Loading, draining or full."""

    code = "unavailable"


class PredictTimeout(ServerError):
    """The response took longer than `predict_timeout`."""

    code = "predict_timeout"


class EngineDead(ServerError):
    """The engine process has died."""

    code = "engine_dead"


class EngineFailure(ServerError):
    """The engine failed on this request."""

    code = "engine_failure"


class UserCodeFailed(ServerError):
    """The user's code raised an exception, or returned something that cannot be sent."""

    code = "user_code_failed"


class UserCodeOutOfMemory(UserCodeFailed):
    """The user's code raised MemoryError, or torch's of the same kind."""

    code = "user_code_out_of_memory"


def raised_at(error: BaseException) -> str:
    """The types of `error` and of what caused it, and where each was raised: a traceback without any message."""
    lines: list[str] = []
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        kind = type(following)
        lines = [*traceback.format_tb(following.__traceback__), f"{kind.__module__}.{kind.__qualname__}\n", *lines]
        following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)
    return "".join(lines).rstrip("\n")
