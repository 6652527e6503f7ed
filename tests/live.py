"""`python -m container serve` as a process of its own, with real vLLM and the model that ships."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests import leaks

ROOT = Path(__file__).parent.parent
MODEL = ROOT / "demo" / "model"
START_SECONDS = 300  # three processes import torch and vLLM; 30 to 90 s on two slow cores


@dataclass
class Live:
    """A server process. `output` is the file that its stdout and stderr go to."""

    process: subprocess.Popen
    url: str
    output: Path
    client: httpx.Client

    def log(self):
        return self.output.read_text(errors="replace")

    def metric(self, name):
        """The sum over all labels of one metric whose line begins with `name`."""
        lines = self.client.get("/metrics").text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if re.match(rf"{re.escape(name)}(?![a-z_])", line))

    def wait_until(self, status):
        for _ in range(START_SECONDS * 4):
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.log()[-4000:]}")
            try:
                if self.client.get("/ping").status_code == status:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.25)
        raise AssertionError(f"/ping never was {status}:\n{self.log()[-4000:]}")

    def exit_code(self, seconds=60):
        return self.process.wait(timeout=seconds)

    def end(self):
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.process.kill()


def start(directory, **options):
    """A server for the shipped model with `options` in its environment; it is loading when this returns."""
    port = free_port()
    output = Path(directory) / "server.log"
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("OPTION_", "SERVING_"))}
    environ |= {
        "OPTION_MODEL_ID": str(MODEL),
        "SERVING_PORT": str(port),
        "HF_HUB_OFFLINE": "1",
        **leaks.ENVIRON,
        **options,
    }
    leaks.OUTPUTS.append(output)
    with output.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "container", "serve"], cwd=ROOT, env=environ, stdout=file, stderr=subprocess.STDOUT
        )
    url = f"http://127.0.0.1:{port}"
    return Live(process, url, output, httpx.Client(base_url=url, timeout=60))


def free_port(row=1):
    """A port that is free; with `row`, so are the next ones."""
    while True:
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError, OverflowError):
            first = 0
            for number in range(row):
                sock = stack.enter_context(socket.socket())
                sock.bind(("127.0.0.1", first + number if number else 0))
                first = first or sock.getsockname()[1]
            return first
