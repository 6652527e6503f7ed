"""What vLLM raises or returns in place of a completion -> our errors, by one table at the seam."""

import re
from typing import Any

import jinja2
import pydantic
from vllm import exceptions
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

from handler.errors import (
    EngineDead,
    EngineFailure,
    InvalidRequest,
    LumiError,
    MediaUnreachable,
    RequestError,
    ServerError,
    Unavailable,
    UnknownModel,
)

# From the special to the general; the first match wins. A test checks that every class of vllm.exceptions has a row.
TABLE: tuple[tuple[type[BaseException], type[RequestError] | type[ServerError]], ...] = (
    (EngineDeadError, EngineDead),
    (exceptions.VLLMNotFoundError, UnknownModel),
    (exceptions.VLLMUnprocessableEntityError, MediaUnreachable),
    (exceptions.VLLMClientError, InvalidRequest),
    (exceptions.RetryableRequestError, Unavailable),
    (exceptions.QueueOverflowError, Unavailable),
    (exceptions.MaxQueuedTokensError, Unavailable),
    (exceptions.GracefulHTTPError, Unavailable),
    (EngineGenerateError, EngineFailure),
    (exceptions.VLLMServerError, EngineFailure),
    (exceptions.VLLMError, EngineFailure),
    (jinja2.TemplateError, InvalidRequest),
    (pydantic.ValidationError, InvalidRequest),
    # vLLM still raises these bare for invalid requests in many places, and its own server returns 400 for them.
    (ValueError, InvalidRequest),
    (TypeError, InvalidRequest),
    (OverflowError, InvalidRequest),
    (NotImplementedError, InvalidRequest),
)

# An argument of vLLM's command line; our messages name the option in its place.
_FLAG = re.compile(r"--([a-z][a-z-]+)")
_INTERNALS = re.compile(r" at 0x[0-9a-fA-F]+|(?:/[\w.\-]+){2,}/[\w.\-]*")


def translate(error: Exception) -> LumiError:
    """Our error for `error`; the caller raises it `from` the original."""
    if isinstance(error, LumiError):
        return error
    kind = next((ours for theirs, ours in TABLE if isinstance(error, theirs)), EngineFailure)
    if issubclass(kind, RequestError):
        message, param = _message_and_parameter(error)
        return kind(message, param=param)
    retry_after = 1 if kind is Unavailable else None
    return kind(_MESSAGES.get(kind, "The engine failed on this request."), retry_after=retry_after)


_MESSAGES: dict[type[ServerError], str] = {
    EngineDead: "The engine process has died.",
    Unavailable: "The engine is busy; please try again.",
}


def translate_response(message: str, status: int, param: str | None) -> LumiError:
    """Our error for an error response that vLLM returned in place of raising."""
    text = public_message(message)
    if status == 404:
        return UnknownModel(text, param=param or "model")
    if status == 503:
        return Unavailable(_MESSAGES[Unavailable], retry_after=1)
    if 400 <= status < 500 or status == 501:
        return InvalidRequest(text, param=param)
    return EngineFailure("The engine failed on this request.")


def _message_and_parameter(error: Exception) -> tuple[str, str | None]:
    if isinstance(error, pydantic.ValidationError):
        return _first_error(error)
    if isinstance(error, exceptions.VLLMClientError):
        # str() of these appends "(parameter=..., value=...)", and the value may be a whole image.
        text, guess = _with_parameter(str(error.args[0] if error.args else error))
        return text, getattr(error, "parameter", None) or guess
    return _with_parameter(str(error))


def _with_parameter(message: str) -> tuple[str, str | None]:
    text = public_message(message)
    # A bare ValueError of the sampling parameters begins with the parameter's name ("n must be at least 1, got 0").
    first = re.match(r"`?([a-z_]+)`? ", text)
    return text, first[1] if first and first[1] in ChatCompletionRequest.model_fields else None


def _first_error(error: pydantic.ValidationError) -> tuple[str, str | None]:
    errors: list[Any] = error.errors(include_url=False, include_context=False)
    # Every member of a union reports an error. The least helpful are of members that expect another type altogether.
    field = errors[0]["loc"][:1]
    first = min((e for e in errors if e["loc"][:1] == field), key=lambda e: e["type"].endswith("_type"))
    path = ""
    for step in first["loc"]:
        # `loc` also has the names of union members and validators; a JSON path has only fields and indices.
        if isinstance(step, int):
            path += f"[{step}]"
        elif re.fullmatch(r"[a-z_][a-z0-9_]*", step) and step not in _UNION_MEMBERS:
            path += f".{step}" if path else step
    message = public_message(str(first["msg"]))
    return (f"`{path}`: {message}" if path else message), path or None


_UNION_MEMBERS = frozenset({"str", "int", "float", "bool", "list", "dict", "none", "constrained", "literal"})


def public_message(message: str) -> str:
    """A message of vLLM's, in our words for its flags and without what is internal."""
    message = _FLAG.sub(lambda flag: "OPTION_" + flag[1].replace("-", "_").upper(), message)
    return _INTERNALS.sub("", message).strip()
