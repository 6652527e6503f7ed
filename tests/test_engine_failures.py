"""A fault in a process of vLLM's engine, and the one sentence of the start about it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkpoints import safetensors
from tests.live import free_port

pytestmark = pytest.mark.engine
ROOT = Path(__file__).parent.parent


def started(model, **environ):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPTION_")}
    options = {"OPTION_MODEL_ID": str(model), "OPTION_PORT": str(free_port()), "OPTION_HOST": "127.0.0.1", **environ}
    return subprocess.run(
        [sys.executable, "-m", "container", "serve"],
        cwd=ROOT,
        env={**kept, "HF_HUB_OFFLINE": "1", **options},
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )


@pytest.fixture
def model(tmp_path):
    return Path(shutil.copytree(ROOT / "demo" / "model", tmp_path / "model"))


@pytest.mark.parametrize(
    "environ",
    [{"OPTION_TENSOR_PARALLEL_DEGREE": "2"}, {"OPTION_PRELOAD_ENGINE": "false"}],
    ids=["worker, forked", "engine core, spawned"],
)
def test_a_tensor_that_the_model_has_no_place_for_is_named(model, environ):
    (model / "more.safetensors").write_bytes(safetensors({"language_model.model.unknown.weight": ("F16", (2, 2))}))
    outcome = started(model, **environ)
    assert outcome.returncode == 1
    sentence = outcome.stderr.partition("lumi cannot start:\n")[2].splitlines()[0]
    assert "There is no module or parameter named 'unknown' in LlamaModel" in sentence
    assert sentence.endswith("upload the weights and the config.json of one revision.")
