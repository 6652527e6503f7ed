from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live import Live, start


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="also the model families that not every run has")


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
    )
    try:
        server.wait_until(200)
        yield server
    finally:
        server.end()
