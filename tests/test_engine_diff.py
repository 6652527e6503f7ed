"""`lumi diff` as an operator runs it: both real engines with the model that ships."""

import json
import os
import subprocess
import sys

import pytest

from tests.drawn import url
from tests.live import MODEL, ROOT
from tests.serving import ask

pytestmark = pytest.mark.engine


def test_both_engines_agree_about_the_model_that_ships(tmp_path):
    request = tmp_path / "request.json"
    request.write_text(json.dumps(ask("What is in the image?", url("red", "circle"))))
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("OPTION_", "SERVING_"))}
    done = subprocess.run(
        [sys.executable, "-m", "container", "diff", str(request), "-m", str(MODEL)],
        cwd=ROOT,
        env=environ | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert lines[0] == "vLLM | transformers"
    assert "same      answer: 4" in lines
    assert any(line.startswith("same      images, pixel_values: [3, 56, 56]: mean ") for line in lines)
    assert lines[-1] == "both agree"
