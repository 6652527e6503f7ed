import io
import json
import logging

import pytest

from container.logs import FIELDS, configure


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def _restored():
    logger = logging.getLogger("lumi")
    before = (logger.handlers, logger.level, logger.propagate)
    yield
    logger.handlers, logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


def _logged(stream, level="info"):
    configure(level, stream)
    log = logging.getLogger("lumi.test")
    log.info("a %s", "line", extra={FIELDS: {"status": 200, "ignored": None}})
    log.debug("hidden")
    try:
        raise ValueError("inside")
    except ValueError:
        log.exception("failed")
    return stream.getvalue().splitlines()


def test_away_from_a_terminal_every_line_is_one_json_object():
    first, second = map(json.loads, _logged(io.StringIO()))
    assert (first["message"], first["level"], first["logger"], first["status"]) == ("a line", "info", "lumi.test", 200)
    assert first["time"].endswith("Z")
    assert "ValueError: inside" in second["traceback"]


def test_on_a_terminal_lines_are_for_people():
    lines = _logged(Terminal())
    assert lines[0].endswith("a line status=200")
    assert "Traceback" in lines[2]


def test_the_level_decides():
    assert not [line for line in _logged(io.StringIO(), "error") if "a line" in line]
