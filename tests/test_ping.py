import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from container.ping import ping
from tests.serving import serving

ROOT = Path(__file__).parent.parent


def environ(served):
    return {
        "OPTION_KV_CACHE_MEMORY_BYTES": "1",
        "SERVING_HOST": "127.0.0.1",
        "SAGEMAKER_BIND_TO_PORT": str(urlsplit(served.url).port),
    }


def test_a_ready_server_is_healthy_and_one_that_drains_is_not(capsys):
    with serving() as served:
        assert ping(environ(served)) == 0
        assert '"ready"' in capsys.readouterr().out
        served.call(served.health.draining, "over")
        served.client.get("/ping")
        assert ping(environ(served)) == 1
        assert '"draining"' in capsys.readouterr().out


def test_silence_is_not_healthy(capsys):
    assert ping({"SERVING_PORT": "1", "SERVING_HOST": "127.0.0.1"}) == 1
    assert "no answer on port 1" in capsys.readouterr().err


def test_options_at_fault_are_not_healthy():
    assert ping({"SERVING_PORT": "http"}) == 1


@pytest.mark.parametrize("heavy", ["uvicorn", "starlette", "vllm", "torch"])
def test_it_runs_every_half_minute_and_imports_little(heavy):
    code = f"import sys, container.ping; assert {heavy!r} not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
