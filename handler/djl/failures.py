"""What can go wrong in user code, and the error that the client or the operator gets for it."""

import logging
import traceback
from pathlib import Path
from typing import NoReturn

from handler.djl.entry_point import EntryPoint
from handler.errors import LumiError, PredictTimeout, StartError, UserCodeFailed, UserCodeOutOfMemory

log = logging.getLogger("lumi.user_code")


class CodeFailure(Exception):
    """Base of what a call of user code may raise."""


class UserCodeError(CodeFailure):
    """User code raised `error`. It may be anything: a SystemExit must not reach the server's event loop as such."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(repr(error))
        self.error = error


class TimedOut(CodeFailure):
    """The call took too long and was cancelled or interrupted."""


class InvalidOutput(CodeFailure):
    """The returned value cannot be sent. The message says why, for the author of the code."""


def translate_failure(failure: CodeFailure, name: str, request_id: str) -> LumiError:
    """The error to raise in place of `failure` of the file `name`. It is logged here, once.

    The client gets the type of an exception and not its text, which may be confidential.
    """
    error = failure.error if isinstance(failure, UserCodeError) else failure
    if isinstance(error, LumiError):
        return error
    if isinstance(error, TimedOut):
        return PredictTimeout(f"{name} did not respond in time; increase OPTION_PREDICT_TIMEOUT.")
    if isinstance(error, InvalidOutput):
        log.error("the output of %s for request %s cannot be sent: %s", name, request_id, error)
        return UserCodeFailed(f"{name} returned an output that cannot be sent; the log gives the reason.")
    log.error("%s failed on request %s", name, request_id, exc_info=error)
    failed = UserCodeOutOfMemory if _is_out_of_memory(error) else UserCodeFailed
    return failed(f"{name} failed with {type(error).__name__}; the log has the traceback.")


def _is_out_of_memory(error: BaseException) -> bool:
    """By LMI's signs: python_async_engine.py in djl-serving d21927c4 (2026-06-24)."""
    return type(error).__name__ in ("MemoryError", "OutOfMemoryError") or "CUDA error: out of memory" in str(error)


def raise_start_error(entry: EntryPoint, what: str, failure: BaseException) -> NoReturn:
    """Raise StartError: the file `what`, with the line that the error comes from. The log has its traceback."""
    error = failure.error if isinstance(failure, UserCodeError) else failure
    if isinstance(error, StartError):
        raise error
    log.error("%s %s", entry.file, what, exc_info=error)
    reason = str(error).split("\n", maxsplit=1)[0]
    message = f"{entry.file}{_location(entry, error)} {what}: {type(error).__name__}{': ' * bool(reason)}{reason}"
    raise StartError(message) from error


def _location(entry: EntryPoint, error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        in_entry = Path(error.filename) == entry.file
        return f", line {error.lineno}," if in_entry else f" ({error.filename}:{error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == entry.file]
    return f", line {lines[-1]}," if lines else ""
