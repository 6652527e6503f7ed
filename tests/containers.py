"""Containers of the image, run by a real Docker engine, with the model that ships."""

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parent.parent
MODEL = ROOT / "demo" / "model"
IMAGE = os.environ.get("LUMI_IMAGE", "lumi:cpu")
EXPECTED = os.environ.get("LUMI_EXPECT_DOCKER") == "1"
START_SECONDS = 400  # two processes import torch and vLLM; half a minute to two minutes on two slow cores


def require_docker():
    """Skip where there is no engine or no image, or fail where both were promised (LUMI_EXPECT_DOCKER=1)."""
    if shutil.which("docker") is None or _docker("info", check=False).returncode != 0:
        missing = "no Docker engine answers; .ci/run installs and starts one"
    elif _docker("image", "inspect", IMAGE, check=False).returncode != 0:
        missing = f"there is no image {IMAGE}; ./build.sh image --device cpu makes it"
    else:
        return
    if EXPECTED:
        pytest.fail(f"LUMI_EXPECT_DOCKER=1, but {missing}")
    pytest.skip(missing)


class Container:
    """A container that runs, or ran. `run` are arguments of docker run, `words` stand after the image's name."""

    def __init__(self, *words, run=(), model=MODEL, mode="ro", image=IMAGE, **environ):
        mount = ["-v", f"{model}:/opt/ml/model:{mode}"] if model else []
        variables = [part for name, value in environ.items() for part in ("-e", f"{name}={value}")]
        shares_a_network = any(part == "host" or part.startswith("container:") for part in run)
        publish = [] if shares_a_network else ["-p", "127.0.0.1::8080"]
        command = ["run", "-d", *publish, *mount, *variables, *run, image, *words]
        self.id = _docker(*command).stdout.strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        _docker("rm", "-f", "-v", self.id, check=False)

    def state(self, template="{{json .State}}"):
        return json.loads(_docker("inspect", "-f", template, self.id).stdout)

    @property
    def url(self):
        return f"http://{_docker('port', self.id, '8080').stdout.split()[0]}"

    def log(self):
        logs = _docker("logs", self.id)
        return logs.stdout + logs.stderr

    def wait_until_ready(self, url=None):
        """Until /ping says 200."""
        url = url or self.url
        for _ in range(START_SECONDS * 2):
            if not self.state()["Running"]:
                raise AssertionError(f"the container ended:\n{self.log()[-4000:]}")
            try:
                if httpx.get(f"{url}/ping").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.5)
        raise AssertionError(f"/ping never was 200:\n{self.log()[-4000:]}")

    def wait_until_logged(self, text):
        for _ in range(START_SECONDS * 2):
            if text in self.log():
                return
            time.sleep(0.5)
        raise AssertionError(f"{text!r} never was in the log:\n{self.log()[-4000:]}")

    def exit_code(self, seconds=120):
        return int(_docker("wait", self.id, seconds=seconds).stdout)

    def execute(self, *command, user="0"):
        return _docker("exec", "-u", user, self.id, *command).stdout

    def processes(self):
        """(process id, state, title) of all there is inside."""
        script = "for p in /proc/[0-9]*; do cat $p/stat 2>/dev/null; done"
        found = re.findall(r"(?m)^(\d+) \((.*)\) (\w) ", self.execute("sh", "-c", script))
        return [(int(number), state, title) for number, title, state in found]

    def engine_process(self):
        return next(number for number, _, title in self.processes() if title.startswith("VLLM::Engine"))

    def docker(self, *words, seconds=120):
        return _docker(*words, self.id, seconds=seconds)


def refused(*words, run=(), model=MODEL, image=IMAGE, **environ):
    """The exit code and the log of a container that fails to start."""
    with Container(*words, run=run, model=model, image=image, **environ) as container:
        return container.exit_code(), container.log()


def _docker(*words, check=True, seconds=120):
    outcome = subprocess.run(["docker", *words], capture_output=True, text=True, check=False, timeout=seconds)
    if check and outcome.returncode != 0:
        raise AssertionError(f"docker {' '.join(words)}: {outcome.stderr}")
    return outcome
