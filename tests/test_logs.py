import io
import json
import logging
import logging.config
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from container.logs import FIELDS, PrintedLines, configure, engine_configuration
from handler.errors import OF_REQUEST
from tests.leaks import LeakWatch

HOSTILE = 'x\n{"level": "info", "message": "forged"}\r\x1b[31m\x9b31m\u2028\u202e\x00\ud800'


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def _restored():
    loggers = [logging.getLogger(name) for name in ("lumi", "vllm", "")]
    before = [(logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    last_resort = logging.lastResort
    yield
    logging.lastResort = last_resort
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


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


def _line(stream, name="lumi.test", secrets=(), level="info", **record):
    """What is written for one record."""
    configure(level, stream, secrets)
    record = {"msg": "", "args": (), "exc_info": None, **record}
    made = logging.LogRecord(
        name, logging.ERROR, __file__, 1, record.pop("msg"), record.pop("args"), record.pop("exc_info")
    )
    vars(made).update(record)
    logging.getLogger("lumi").handlers[0].handle(made)
    return stream.getvalue()


def _raised(message):
    try:
        raise ValueError(message)
    except ValueError as error:
        return (type(error), error, error.__traceback__)


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


def test_nothing_that_is_logged_ends_a_line_of_json_or_reaches_a_terminal():
    line = _line(io.StringIO(), msg="%s", args=(HOSTILE,), lumi={"path": HOSTILE}, exc_info=_raised(HOSTILE))
    assert line.count("\n") == 1
    assert line[:-1].isprintable()
    entry = json.loads(line)
    assert (entry["message"], entry["path"]) == (HOSTILE, HOSTILE)


def test_on_a_terminal_only_a_traceback_has_further_lines_and_they_are_indented():
    first, *others = _line(Terminal(), msg="%s", args=(HOSTILE,), exc_info=_raised(HOSTILE)).splitlines()
    assert "forged" in first
    assert others
    assert all(line.startswith("  ") and line.isprintable() for line in others)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("token hf_abcdefghijklmnopqrst of", "token *** of"),
        ("key AKIAIOSFODNN7EXAMPLE is", "key *** is"),
        ("Authorization: Bearer abc.def-ghi_123", "Authorization: Bearer ***"),
        (
            "GET https://b.s3.example/a.png?X-Amz-Date=1&X-Amz-Signature=abc failed",
            "GET https://b.s3.example/a.png?*** failed",
        ),
        ("https://h.example/a?v=1&sig=abc", "https://h.example/a?***"),
        ("https://me:word@h.example/a?page=2", "https://***@h.example/a?page=2"),
        ('{"url": "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAA"}', '{"url": "data:image/png;base64,***"}'),
        ("max_num_batched_tokens=2048, block 16", "max_num_batched_tokens=2048, block 16"),
    ],
)
def test_what_has_the_shape_of_a_secret_is_masked(text, shown):
    line = _line(io.StringIO(), msg="%s", args=(text,), exc_info=_raised(text))
    assert json.loads(line)["message"] == shown
    assert f"ValueError: {shown}" in json.loads(line)["traceback"]
    assert shown in _line(Terminal(), msg="%s", args=(text,))


def test_the_secrets_of_the_server_are_masked_wherever_they_are():
    text = 'key pa"ss\\word1, key pass, again pa"ss\\word12'
    line = _line(
        io.StringIO(), msg="%s", args=(text,), lumi={"a": text}, secrets=('pa"ss\\word1', 'pa"ss\\word12', "pas")
    )
    assert json.loads(line)["message"] == json.loads(line)["a"] == "key ***, key pass, again ***"


@pytest.mark.parametrize(
    "name", ["vllm.renderers.hf", "vllm.tool_parsers.hermes", "vllm.entrypoints.openai.chat_completion"]
)
def test_of_vllms_lines_about_a_request_only_the_numbers_remain(name):
    line = _line(
        io.StringIO(),
        name,
        msg="%s took %d ms: %r",
        args=("my words", 7, {"my": "words"}),
        exc_info=_raised("my words"),
    )
    assert json.loads(line)["message"] == "*** took 7 ms: '***'"
    assert "words" not in line
    assert "builtins.ValueError" in json.loads(line)["traceback"]
    assert json.loads(_line(io.StringIO(), name, msg="%d of %s", args=("my words", 1)))["message"] == "%d of %s"
    assert "config" in _line(io.StringIO(), "vllm.config", msg="%s", args=("config",))


def test_the_message_of_what_a_request_raised_is_not_logged_but_where_it_was():
    try:
        raise RuntimeError("also my words") from _raised("my words")[1]
    except RuntimeError as error:
        raised = (type(error), error, error.__traceback__)
    trace = json.loads(_line(io.StringIO(), exc_info=raised, **OF_REQUEST))["traceback"]
    assert "my words" not in trace.replace('_raised("my words")', "").replace('"also my words"', "")
    assert trace.index("builtins.ValueError") < trace.index("builtins.RuntimeError")
    assert __file__ in trace


def test_what_is_printed_becomes_lines_of_the_log():
    stream, printed = io.StringIO(), io.StringIO()
    configure("info", stream)
    with redirect_stdout(PrintedLines(printed, logging.getLogger("lumi.print"))):
        for text in ("one\n\x1b[1mtwo\n", "three", " and four\n"):
            sys.stdout.write(text)
            sys.stdout.flush()
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == [
        "one",
        "\x1b[1mtwo",
        "three and four",
    ]
    assert printed.getvalue() == ""


@pytest.mark.parametrize(("stream", "begin"), [(io.StringIO(), "{"), (Terminal(), "1")])
def test_vllm_is_told_to_log_as_this_process_does(stream, begin, capfd):
    with engine_configuration("warning", stream) as path:
        logging.config.dictConfig(json.loads(Path(path).read_text()))
        logging.getLogger("vllm.config").warning("one")
        logging.getLogger("vllm.config").info("two")
    logged = capfd.readouterr().err
    assert ("one" in logged, "two" in logged, logged.count("\n")) == (True, False, 1)
    assert logged.startswith("{") == (begin == "{")


def test_a_leak_into_a_log_is_seen():
    watch = LeakWatch()
    for words in ("a quixotic zeppelin 5f1c9b", "nothing"):
        watch.handle(logging.makeLogRecord({"msg": "%s", "args": (words,), "name": "lumi"}))
    assert len(watch.leaks) == 1


def test_warnings_of_other_loggers_are_lines_too_and_a_user_may_configure_logging():
    stream = io.StringIO()
    configure("info", stream)
    logging.getLogger().handlers = []
    logging.getLogger("elsewhere").warning("one")
    assert json.loads(stream.getvalue())["logger"] == "elsewhere"
    own = io.StringIO()
    logging.basicConfig(level="INFO", stream=own, format="mine %(message)s")
    logging.getLogger("elsewhere").info("two")
    assert own.getvalue() == "mine two\n"
