"""What went wrong in user code -> the error that the client is told, and the traceback that the log is."""

import logging

from handler.djl.reading import Unfit
from handler.djl.user_thread import Failed, GivenUp
from handler.errors import LumiError, PredictTimeout, UserCodeFailed

log = logging.getLogger("lumi.user_code")


def told(failure: Exception, name: str, request_id: str) -> LumiError:
    """The error to raise in place of `failure` (Failed, GivenUp or Unfit) of the file `name`; logged once, here.

    A client is told the kind of an exception and no more: its text may hold what only the operator should see.
    """
    error = failure.error if isinstance(failure, Failed) else failure
    if isinstance(error, LumiError):
        return error
    if isinstance(error, GivenUp):
        return PredictTimeout(f"Nothing came of {name} in time; raise OPTION_PREDICT_TIMEOUT.")
    if isinstance(error, Unfit):
        log.error("%s answered request %s with what cannot be sent: %s", name, request_id, error)
        return UserCodeFailed(f"{name} answered with what cannot be sent; the log says why.")
    log.error("%s failed on request %s", name, request_id, exc_info=error)
    return UserCodeFailed(f"{name} failed with {type(error).__name__}; the log has its traceback.")
