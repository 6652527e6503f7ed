"""What fails in a process of the engine -> the process that started it, which else learns only that one has failed.

vLLM logs such exceptions where they happen, and raises one that points to the log. Importing this module does not import vllm.
"""

import contextlib
import json
import logging
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from handler.engines.vllm.reasons import is_pointer, reason

_FATAL = (
    "failed to start"  # in vLLM's log line about a process that ends; exceptions that it survives are logged as well
)

_is_watching = False
_file: Path | None = None  # where this process, and those that it starts, write


def causes_file() -> Path | None:
    """For a process that is started by this one, if anyone waits for causes."""
    return _file


@contextlib.contextmanager
def gather_causes() -> Iterator[Callable[[], str | None]]:
    """A function that returns the cause of a failure, as far as one was written since: by this process or those below it."""
    with tempfile.TemporaryDirectory(prefix="lumi-", ignore_cleanup_errors=True) as directory:
        file = Path(directory) / "causes"
        with write_causes(file):
            yield lambda: _read(file)


@contextlib.contextmanager
def write_causes(file: Path | None) -> Iterator[None]:
    """Write to `file`, if there is one, the exceptions that vLLM logs here, and the one that ends the context."""
    global _file  # noqa: PLW0603  # the process has one
    if file is None:
        yield
        return
    before, _file = _file, file
    _watch_records()
    try:
        yield
    except Exception as fault:
        _write(fault, fatal=True)
        raise
    finally:
        _file = before


def _watch_records() -> None:
    """See each record that is logged in this process from now on. A handler would not outlive vLLM's own configuration, and
    vLLM may wrap this factory in its own: neither can be taken out again."""
    global _is_watching  # noqa: PLW0603  # the process has one
    if not _is_watching:
        logging.setLogRecordFactory(partial(_make_record, logging.getLogRecordFactory()))
        _is_watching = True


def _make_record(factory: Callable[..., logging.LogRecord], name: str, *details: Any, **more: Any) -> logging.LogRecord:
    record = factory(name, *details, **more)
    if record.name and record.name.startswith("vllm") and record.exc_info and isinstance(record.exc_info[1], Exception):
        _write(record.exc_info[1], fatal=_FATAL in record.getMessage())
    return record


def _write(fault: BaseException, *, fatal: bool) -> None:
    if _file is None:
        return
    # An engine that fails after its start has nobody left to tell: the directory is gone.
    with contextlib.suppress(OSError), _file.open("a") as file:
        file.write(json.dumps({"reason": reason(fault), "fatal": fatal}) + "\n")


def _read(file: Path) -> str | None:
    """The first exception that ended a process, since others follow from it; else the last that was logged."""
    lines = file.read_text().splitlines() if file.is_file() else []
    found = [entry for entry in map(json.loads, lines) if not is_pointer(entry["reason"])]
    fatal = [entry["reason"] for entry in found if entry["fatal"]]
    return fatal[0] if fatal else found[-1]["reason"] if found else None
