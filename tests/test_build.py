"""The front door, as far as it can be tried without installing anything."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def build(*arguments, **environ):
    return subprocess.run(
        [ROOT / "build.sh", *arguments],
        cwd="/",
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
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
        (["bench", "mark"], "bench measures cold-start or front-end, not 'mark'"),
        (["bench"], "bench measures cold-start or front-end, not ''"),
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


@pytest.mark.parametrize("lock", ["cpu", "gpu", "dev", "uv", "clients"])
def test_every_package_of_a_lock_has_its_hash(lock):
    lines = (ROOT / "requirements" / f"{lock}.txt").read_text().splitlines()
    pinned = [line for line in lines if "==" in line and not line.startswith((" ", "#"))]
    assert pinned
    assert all(line.endswith("\\") for line in pinned)
