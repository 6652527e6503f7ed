"""The front door, as far as it can be tried without installing anything."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.http_server import Response, http_server

ROOT = Path(__file__).parent.parent


def build(*arguments, **environ):
    return subprocess.run(
        [ROOT / "build.sh", *arguments],
        cwd="/",
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_without_a_command_it_says_what_there_is():
    outcome = build()
    assert outcome.returncode == 0
    assert "serve" in outcome.stdout
    assert "test" in outcome.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["dance"], "unknown command 'dance'"),
        (["serve", "--fast"], "unknown argument '--fast'"),
        (["serve", "--device", "tpu"], "--device is cpu or gpu, not 'tpu'"),
        (["diff", "request.json", "--device", "tpu"], "--device is cpu or gpu, not 'tpu'"),
        (["serve", "--all"], "unknown argument '--all'"),
        (["serve", "--device"], "--device is cpu or gpu, not ''"),
        (["bench", "mark"], "bench measures cold-start, front-end, soak, overload or routing, not 'mark'"),
        (["bench"], "bench measures cold-start, front-end, soak, overload or routing, not ''"),
    ],
)
def test_a_wrong_word_is_named(arguments, words):
    outcome = build(*arguments)
    assert outcome.returncode != 0
    assert words in outcome.stderr


@pytest.mark.skipif(
    not (ROOT / ".venv" / "serving").exists(), reason="the tests run from another environment than .venv"
)
def test_check_with_a_typo_refuses_with_the_right_name():
    outcome = build("check", "--device", "cpu", OPTION_MODEL_ID=str(ROOT / "demo" / "model"), OPTION_DTYP="fp16")
    assert outcome.returncode == 1
    assert "did you mean OPTION_DTYPE?" in outcome.stderr


def test_no_lock_names_an_index():
    for lock in (ROOT / "requirements").glob("*.txt"):
        assert "://" not in lock.read_text(), lock


@pytest.mark.parametrize("lock", ["cpu", "gpu", "dev", "uv", "clients", "openai2", "openai3"])
def test_every_package_of_a_lock_has_its_hash(lock):
    lines = (ROOT / "requirements" / f"{lock}.txt").read_text().splitlines()
    pinned = [line for line in lines if "==" in line and not line.startswith((" ", "#"))]
    assert pinned
    assert all(line.endswith("\\") for line in pinned)


def audit(vulnerable):
    """What ./build.sh audit says where a server in place of osv.dev knows one vulnerability, of the package `vulnerable`."""

    def respond(request):
        package = json.loads(request.body)["package"]
        found = {"vulns": [{"id": "GHSA-1", "summary": "s", "affected": [{"package": package, "ranges": []}]}]}
        return Response(body=json.dumps(found if package["name"] == vulnerable else {}).encode())

    with http_server(respond) as url:
        return build("audit", PIP_AUDIT_OSV_URL=url)


def test_an_audit_names_what_is_vulnerable_and_passes_otherwise():
    outcome = audit("pillow")
    assert outcome.returncode != 0
    assert "GHSA-1" in outcome.stdout
    assert "pillow" in outcome.stdout
    assert "accept with a reason" in outcome.stderr
    assert audit(None).returncode == 0
