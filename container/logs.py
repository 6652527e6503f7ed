"""Log lines: text on a terminal, JSON elsewhere; Lumi's, vLLM's and those that other code prints. A request is one line.

No line quotes a request, or holds a secret, and nothing that is logged can end a line or begin one.
"""

import contextlib
import json
import logging
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from container.masking import MASK, redact
from handler.errors import raised_at

# The attribute of a record that `extra=` sets; all others are logging's own.
FIELDS = "lumi"
_LONGEST_PRINT = 2**16  # characters of a line that user code prints, before it is logged in part
# Loggers of vLLM whose lines are about single requests, and may quote one: of these the numbers remain.
_QUOTING = re.compile(
    r"vllm\.(?:entrypoints|inputs|logging_utils|multimodal|parser|reasoning|renderers|tokenizers|tool_parsers"
    r"|v1\.engine\.(?:async_llm|input_processor|output_processor|parallel_sampling)|v1\.structured_output)(?:\.|$)"
)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")
_ENCODER = json.JSONEncoder(default=str, ensure_ascii=False)  # json.dumps would construct one for each line


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, the fields of the record, and a traceback if any.

    `secrets` are texts that no line shows.
    """

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        super().__init__()
        self._secrets = _spellings(secrets)

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info:
            line["traceback"] = _traceback(self, record)
        return _escape(redact(_ENCODER.encode(line), self._secrets))


class TerminalFormatter(logging.Formatter):
    """`12:00:00 info  message field=value`; the lines of a traceback are indented."""

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        super().__init__()
        self._secrets = _spellings(secrets)

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%H:%M:%S", time.localtime(record.created))
        values = getattr(record, FIELDS, {}).items()
        text = "".join((_message(record), *(f" {name}={value}" for name, value in values if value is not None)))
        lines = [f"{moment} {record.levelname.lower():<7} {text}"]
        if record.exc_info:
            lines += [f"  {line}" for line in _traceback(self, record).splitlines()]
        return "\n".join(_escape(redact(line, self._secrets)) for line in lines)


class PrintedLines:
    """A text stream, in place of `stream`, whose lines are logged: what user code prints cannot pass for a log line."""

    def __init__(self, stream: TextIO, logger: logging.Logger) -> None:
        self._stream = stream
        self._logger = logger
        self._rest = threading.local()  # so that two threads do not write one line

    def write(self, text: str) -> int:
        *lines, self._rest.text = (getattr(self._rest, "text", "") + text).split("\n")
        if len(self._rest.text) > _LONGEST_PRINT:
            lines.append(self._rest.text)
            self._rest.text = ""
        for line in lines:
            if line.strip():
                self._logger.info("%s", line)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def configure(level: str, stream: TextIO = sys.stderr, secrets: Sequence[str] = ()) -> None:
    """Send the `lumi` loggers to `stream`, and the warnings of others where nobody else handles them."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TerminalFormatter(secrets) if stream.isatty() else JsonFormatter(secrets))
    logger = logging.getLogger("lumi")
    logger.handlers = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
    # Not a handler of the root logger, with which a user's own `logging.basicConfig` would have no effect.
    logging.lastResort = logging.StreamHandler(stream)
    logging.lastResort.setLevel(logging.WARNING)
    logging.lastResort.setFormatter(handler.formatter)


@contextlib.contextmanager
def log_prints() -> Iterator[None]:
    """Log what this process prints, unless people read it on a terminal."""
    if sys.stdout.isatty():
        yield
        return
    with contextlib.redirect_stdout(PrintedLines(sys.stdout, logging.getLogger("lumi.print"))):
        yield


@contextlib.contextmanager
def engine_configuration(level: str, stream: TextIO = sys.stderr) -> Iterator[str]:
    """The path of a file from which vLLM's processes, which inherit stderr, configure their loggers as these are. Raises
    OSError. A secret is not written there: only what looks like one is masked."""
    formatter = TerminalFormatter if stream.isatty() else JsonFormatter
    configuration = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lumi": {"()": f"{__name__}.{formatter.__name__}"}},
        "handlers": {"lumi": {"class": "logging.StreamHandler", "formatter": "lumi", "stream": "ext://sys.stderr"}},
        "loggers": {"vllm": {"handlers": ["lumi"], "level": level.upper(), "propagate": False}},
    }
    descriptor, name = tempfile.mkstemp(prefix="lumi-", suffix=".json")
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(configuration, file)
        yield name
    finally:
        Path(name).unlink(missing_ok=True)


def _message(record: logging.LogRecord) -> str:
    if not _is_of_request(record):
        return record.getMessage()
    args: Any = record.args
    masked = (
        {name: _number(value) for name, value in args.items()}
        if isinstance(args, Mapping)
        else tuple(map(_number, args or ()))
    )
    with contextlib.suppress(TypeError, ValueError):
        return str(record.msg) % masked if masked else str(record.msg)
    return str(record.msg)


def _number(value: object) -> object:
    return value if isinstance(value, int | float) else MASK


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    info = record.exc_info
    if info and info[1] is not None and _is_of_request(record):
        return raised_at(info[1])
    return formatter.formatException(info) if info else ""


def _is_of_request(record: logging.LogRecord) -> bool:
    return hasattr(record, "of_request") or _QUOTING.match(record.name) is not None


def _spellings(secrets: Sequence[str]) -> tuple[str, ...]:
    """Each secret, also as JSON spells it; the longest first, lest one is a part of another. Short ones are words."""
    spelt = {spelling for secret in secrets for spelling in (secret, _ENCODER.encode(secret)[1:-1]) if len(secret) > 3}
    return tuple(sorted(spelt, key=len, reverse=True))


def _escape(line: str) -> str:
    if line.isascii() and line.isprintable():
        return line
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", line)
