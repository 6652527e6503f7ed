from pathlib import Path

import pytest


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A model directory that holds a model."""
    (tmp_path / "config.json").write_text("{}")
    return tmp_path
