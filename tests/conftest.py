import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.leaks import OUTPUTS, WATCH, leaks
from tests.live import Live, start


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="also the model families that not every run has")


def pytest_configure() -> None:
    """Watch what is logged in this process, at every level."""
    logging.getLogger().addHandler(WATCH)
    logging.getLogger("lumi").setLevel(logging.DEBUG)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail if anything that the suite logged, here or in a server, shows a secret or a request."""
    found = [*WATCH.leaks, *(line for file in OUTPUTS for line in leaks(file.read_text(errors="replace")))]
    if found:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        lines = [f"{len(found)} log lines show a secret of tests/leaks.py:", *found[:20]]
        session.config.get_terminal_writer().write("\n" + "\n".join(lines) + "\n", red=True)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A model directory that holds a model."""
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """The server with the real engine that all tests of it share: a start takes most of a minute."""
    server = start(
        tmp_path_factory.mktemp("live"),
        OPTION_MEDIA_ALLOWED_NETWORKS="127.0.0.1/32",
        OPTION_ENABLE_AUTO_TOOL_CHOICE="true",
        OPTION_TOOL_CALL_PARSER="hermes",
        OPTION_IMAGE_INPUT_TYPE="image_features",
        OPTION_LOG_LEVEL="debug",  # logs are searched for secrets
        VLLM_LOGGING_LEVEL="DEBUG",
    )
    try:
        server.wait_until(200)
        yield server
    finally:
        server.end()
