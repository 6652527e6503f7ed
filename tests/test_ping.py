import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from container.address_file import publish_address
from container.ping import ping
from tests.live import free_port
from tests.serving import serving, wait_for

ROOT = Path(__file__).parent.parent
ELSEWHERE = {"SERVING_PORT": "1", "SERVING_HOST": "127.0.0.1"}


@pytest.fixture(autouse=True)
def _temporary(monkeypatch, tmp_path):
    """A temporary directory without other servers."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))


def port(served):
    return urlsplit(served.url).port


def environ(served):
    return {
        "OPTION_KV_CACHE_MEMORY_BYTES": "1",
        "SERVING_HOST": "127.0.0.1",
        "SAGEMAKER_BIND_TO_PORT": str(port(served)),
    }


def test_a_ready_server_is_healthy_and_one_that_drains_is_not(capsys):
    with serving() as served:
        assert ping(environ(served)) == 0
        assert '"ready"' in capsys.readouterr().out
        served.call(served.health.draining, "over")
        served.client.get("/ping")
        assert ping(environ(served)) == 1
        assert '"draining"' in capsys.readouterr().out


def test_the_only_server_is_asked_wherever_the_environment_says(capsys):
    with serving() as served, publish_address("127.0.0.1", port(served)):
        assert ping(ELSEWHERE) == 0
        assert '"ready"' in capsys.readouterr().out
    assert ping(ELSEWHERE) == 1
    assert "no response on port 1" in capsys.readouterr().err


def test_the_only_server_is_asked_whatever_the_options_are():
    with serving() as served, publish_address("0.0.0.0", port(served)):
        assert ping({"SERVING_PORT": "http"}) == 0


def test_of_several_servers_the_one_at_the_port_of_the_environment_is_asked():
    with serving() as one, serving() as other:
        other.call(other.health.draining, "over")
        wait_for(lambda: other.health.phase == "draining")
        with publish_address("127.0.0.1", port(one)), publish_address("127.0.0.1", port(other)):
            assert ping({"SERVING_PORT": str(port(one))}) == 0
            assert ping({"SERVING_PORT": str(port(other))}) == 1
            assert ping(ELSEWHERE) == 1


def test_a_server_that_does_not_respond_is_not_healthy(capsys):
    assert ping(ELSEWHERE) == 1
    assert "no response on port 1" in capsys.readouterr().err


def test_faulty_options_are_not_healthy():
    assert ping({"SERVING_PORT": "http"}) == 1


@pytest.mark.parametrize("heavy", ["uvicorn", "starlette", "vllm", "torch"])
def test_it_runs_every_half_minute_and_imports_little(heavy):
    code = f"import sys, container.ping; assert {heavy!r} not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_server_whose_arguments_name_its_port_is_found(tmp_path):
    """As the image's health check asks: it runs `lumi ping` in the container, without the arguments of `serve`."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.py").write_text("def handle(inputs):\n    return None\n")
    (tmp_path / "config.properties").write_text(f"inference_address=http://127.0.0.1:{free_port()}\n")
    environment = {"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path / "tmp")}

    def lumi(*words):
        return subprocess.Popen(
            [sys.executable, "-m", "container", *words], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
        )

    def is_healthy():
        with lumi("ping") as asked:
            asked.communicate(timeout=20)
        return asked.returncode == 0

    with lumi("serve", "-f", str(tmp_path / "config.properties"), "-s", str(tmp_path / "model")) as server:
        try:
            wait_for(lambda: server.poll() is not None or is_healthy())
        finally:
            server.terminate()
            _, log = server.communicate(timeout=20)
    assert server.returncode == 0, log
    assert not list((tmp_path / "tmp").iterdir())
