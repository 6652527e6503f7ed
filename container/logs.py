"""Log lines: text on a terminal, JSON elsewhere. A request is one line."""

import json
import logging
import sys
import time
from typing import TextIO

# The attribute of a record that `extra=` sets; all others are logging's own.
FIELDS = "lumi"

_ENCODER = json.JSONEncoder(default=str, ensure_ascii=False)  # json.dumps would construct one for each line


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, the fields of the record, and a traceback if any."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return _ENCODER.encode(line)


class TerminalFormatter(logging.Formatter):
    """`12:00:00 info  message field=value`."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%H:%M:%S", time.localtime(record.created))
        values = getattr(record, FIELDS, {}).items()
        text = "".join((record.getMessage(), *(f" {name}={value}" for name, value in values if value is not None)))
        # Control characters that a client sent must not reach the terminal.
        printable = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
        line = f"{moment} {record.levelname.lower():<7} {printable}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure(level: str, stream: TextIO = sys.stderr) -> None:
    """Send the `lumi` loggers to `stream`. The root logger and the engine's are left alone."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TerminalFormatter() if stream.isatty() else JsonFormatter())
    logger = logging.getLogger("lumi")
    logger.handlers = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
