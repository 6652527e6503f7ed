"""The newest chat clients of Python and JavaScript, unmodified, ask the real engine about an image."""

import json
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.drawn import url

pytestmark = pytest.mark.engine

ROOT = Path(__file__).parent.parent
SCRIPTS = ROOT / "tests" / "clients"
# openai's versions 2 and 3 do not stand in one environment, and not every client takes the newer one.
PYTHON = {
    ".venv-openai3": ("openai", "langchain", "litellm", "pydantic_ai", "haystack", "smolagents", "openai_agents"),
    ".venv-openai2": ("openai", "llama_index", "strands"),
}
JAVASCRIPT = ("vercel", "langchain", "openai")
# What they would tell or fetch elsewhere.
QUIET = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "AI_SDK_LOG_WARNINGS": "false",
}
SECONDS = 300  # their imports take most of a minute on a slow core


def run(command, where, live, names):
    """The answers by the names of the clients."""
    done = subprocess.run(
        [*command, f"{live.url}/v1", "lumi-demo", *names],
        input=url("red", "circle"),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        cwd=where,
        env=os.environ | QUIET,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def in_python(live):
    def ask(environment):
        python = ROOT / environment / "bin" / "python"
        if not python.exists():
            pytest.fail(f"there is no {environment}; ./build.sh test installs it")
        return run([python, "-W", "ignore", SCRIPTS / "chat_clients.py"], ROOT, live, PYTHON[environment])

    with ThreadPoolExecutor() as pool:
        return dict(zip(PYTHON, pool.map(ask, PYTHON), strict=True))


@pytest.mark.parametrize(("environment", "name"), [(where, name) for where, names in PYTHON.items() for name in names])
def test_a_client_in_python_is_answered(in_python, environment, name):
    assert set(in_python[environment][name]) == {"a red circle"}


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node")
def test_clients_in_javascript_are_answered(live):
    packages = ROOT / ".node-clients"
    if not packages.exists():
        pytest.fail("there is no .node-clients; ./build.sh test installs it")
    answers = run(["node", SCRIPTS / "chat_clients.mjs"], packages, live, JAVASCRIPT)
    assert answers == {name: ["a red circle"] * 2 for name in JAVASCRIPT}
