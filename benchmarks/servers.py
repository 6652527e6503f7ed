"""Lumi and `vllm serve` as processes with the same model and settings, and what their front ends spend."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from cases import MODEL

ROOT = Path(__file__).parent.parent
START_SECONDS = 300  # six processes import torch and vLLM at the same time
STOP_SECONDS = 30
REQUEST_SECONDS = 60

# By the names of vLLM's engine arguments. Lumi reads them as OPTION_<NAME>, vllm serve as --name.
SETTINGS: Mapping[str, Any] = {
    "served_model_name": MODEL,
    "dtype": "float32",
    "max_model_len": 2048,
    "max_num_seqs": 32,
    "enforce_eager": True,
    "interleave_mm_strings": True,
    "limit_mm_per_prompt": {"image": 5, "video": 1, "audio": 1},
}
ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
}
# Variables of the caller's shell that must not reach the servers.
FOREIGN = ("OPTION_", "SERVING_", "SAGEMAKER_", "VLLM_", "HF_")


class StartFailed(Exception):
    """A server ended before it was ready, or took too long; says what it logged last."""


@dataclass(frozen=True)
class Server:
    """A server process: `process` is its front end, the only one of its processes that is measured."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    client: httpx.Client

    def cpu_seconds(self) -> float:
        """User and system time of all threads of the front end, ended ones too, to the nanosecond."""
        # Linux' clock of a whole process, as clock_getcpuclockid(3) makes it; Python has no name for that function.
        return time.clock_gettime((~self.process.pid << 3) | 2)

    def image_hits(self) -> int:
        """How many images were found in vLLM's cache of processed ones, ever."""
        lines = self.client.get("/metrics").text.splitlines()
        return int(sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("vllm:mm_cache_hits_total")))

    def wait(self) -> None:
        """Return when it is ready. Raises StartFailed."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(httpx.TransportError):
                if self.client.get("/health").status_code == 200:
                    return
            time.sleep(0.5)
        tail = self.log.read_text(errors="replace")[-4000:]
        raise StartFailed(f"{self.name} was not ready within {START_SECONDS} s, or ended:\n{tail}")

    def end(self) -> None:
        """End it and the processes that it started, which are in a process group of its own."""
        self.client.close()
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=STOP_SECONDS)


def shipped_model(directory: Path) -> Path:
    """The model that ships, without its serving.properties: that would win over the settings of the run."""
    model = directory / "model"
    shutil.copytree(ROOT / "demo" / "model", model, ignore=shutil.ignore_patterns("serving.properties"))
    return model


@contextlib.contextmanager
def both(model: Path, directory: Path) -> Iterator[tuple[Server, Server]]:
    """`vllm serve` and Lumi, both ready; they write their logs to `directory`."""
    with contextlib.ExitStack() as stack:
        servers = []
        for start in (vllm_serve, lumi):
            servers.append(start(model, directory, SETTINGS))
            stack.callback(servers[-1].end)
        for server in servers:
            server.wait()
        yield servers[0], servers[1]


@contextlib.contextmanager
def lumi_alone(settings: Mapping[str, Any]) -> Iterator[Server]:
    """Lumi, ready, with the model that ships. Raises StartFailed."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
        server = lumi(shipped_model(Path(directory)), Path(directory), settings)
        try:
            server.wait()
            yield server
        finally:
            server.end()


def vllm_serve(model: Path, directory: Path, settings: Mapping[str, Any], **environ: str) -> Server:
    """vLLM's own server, started and not waited for; `environ` is set for it alone."""
    port = _free_port()
    arguments = ["-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    arguments += ["--host", "127.0.0.1", "--port", str(port), "--disable-uvicorn-access-log"]
    arguments += ["--enable-prompt-tokens-details"]  # as Lumi has it
    for name, value in settings.items():
        arguments += [f"--{name.replace('_', '-')}", *([] if value is True else [_format_value(value)])]
    return _start("vllm serve", arguments, environ, cwd=directory, port=port)


def lumi(model: Path, directory: Path, settings: Mapping[str, Any], **environ: str) -> Server:
    """Lumi, started and not waited for; `environ` is set for it alone."""
    port = _free_port()
    options = {f"OPTION_{name.upper()}": _format_value(value) for name, value in settings.items()}
    options |= {"OPTION_MODEL_ID": str(model), "SERVING_HOST": "127.0.0.1", "SERVING_PORT": str(port)}
    environ = {**options, "PYTHONPATH": str(ROOT), **environ}
    return _start("Lumi", ["-m", "container", "serve"], environ, cwd=directory, port=port)


def _start(name: str, arguments: list[str], environ: Mapping[str, str], *, cwd: Path, port: int) -> Server:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
    log = cwd / f"{name.replace(' ', '-').lower()}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=cwd,
            env={**inherited, **ENVIRONMENT, **environ},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=REQUEST_SECONDS, trust_env=False)
    return Server(name, process, log, client)


def _format_value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
