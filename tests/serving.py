"""The real server and the real start, on a real port of loopback, over a scripted engine."""

import asyncio
import base64
import io
import json
import queue
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvloop
from PIL import Image
from prometheus_client import CollectorRegistry

from container.http.admission import Admission
from container.http.app import build_app
from container.http.health import Health
from container.http.inference import Serving
from container.http.listener import bind
from container.http.metrics import Metrics
from container.http.slow_readers import SlowReaders
from container.nodes.rendezvous import NodeGroup, SingleNode
from container.options import Options, resolve
from container.server import Server
from container.start.machine import CheckedMachine, inspect
from container.start.model import locate_model
from container.start.service import adapter_store, build_service, media_limits
from container.start.startup import Startup
from container.start.warm_up import REQUEST_ID
from handler.engine import EngineFactory
from handler.engines.fake import FakeEngine, FakeFactory
from handler.engines.supervised import SupervisedFactory
from handler.engines.supervisor import Supervision
from handler.engines.vllm import field_names
from handler.errors import StartError
from handler.media.loader import MediaLoader
from handler.service import Service

ENVIRON = {
    "OPTION_SERVED_MODEL_NAME": "mine",
    "OPTION_LIMIT_MM_PER_PROMPT": '{"image": 4}',
    "OPTION_ENABLE_STATEFUL_SESSIONS": "false",
    "OPTION_MODEL_LOADING_TIMEOUT": "60",
    "OPTION_PREDICT_TIMEOUT": "10",
}


@dataclass
class Served:
    """A server that runs in a thread. `outcome` has its exit code once it has ended, or the fault that ended its start."""

    url: str
    engine: FakeEngine
    health: Health
    client: httpx.Client
    loop: asyncio.AbstractEventLoop
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    outcome: dict[str, Any] = field(default_factory=dict)
    thread: threading.Thread = field(default_factory=threading.current_thread)

    def post(self, body: Any, path: str = "/invocations", **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.post(path, content=content, headers={"content-type": "application/json", **headers})

    def call(self, function: Any, *arguments: Any) -> None:
        self.loop.call_soon_threadsafe(function, *arguments)

    def terminate(self) -> None:
        self.call(self.stop.set)

    def wait(self) -> Any:
        self.thread.join(timeout=20)
        assert not self.thread.is_alive(), "the server did not end"
        return self.outcome.get("code", self.outcome.get("fault"))


@dataclass
class Setup:
    """What differs between the servers of tests. `environ` is added to ENVIRON; a model without files is served unless it
    names another. The engine's script begins with the first request of the start if `warm`, else after it."""

    environ: Mapping[str, str] = field(default_factory=dict)
    serving: Serving = field(default_factory=lambda: Serving(request_bytes=1 << 20, predict_seconds=10))
    queue: int = 100
    draining: float = 10
    slow_readers: SlowReaders = field(default_factory=SlowReaders)
    later: Sequence[FakeEngine] = ()  # those that replace a dead one
    supervision: Supervision = field(default_factory=Supervision)
    warm: bool = False
    follows: bool = False  # another node answers
    nodes: NodeGroup = field(default_factory=SingleNode)
    loading: threading.Event | None = None  # loading waits for it, at most for so many seconds
    loading_seconds: float = 2


@contextmanager
def serving(engine: FakeEngine | None = None, **different: Any) -> Iterator[Served]:
    """A server that is ready, unless `loading` holds it back."""
    setup = Setup(**different)
    with options_of(**{"OPTION_JOB_QUEUE_SIZE": str(setup.queue), **setup.environ}) as options:
        served = _start(engine or FakeEngine(), setup, options)
        try:
            if setup.loading is None:
                _until_loaded(served)
            yield served
        finally:
            served.client.close()
            _end(served, setup)


@contextmanager
def options_of(**environ: str) -> Iterator[Options]:
    """The options of ENVIRON and `environ`, for a model whose directory goes at the end."""
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "config.json").write_text("{}")
        settings = {"HF_MODEL_ID": directory, "OPTION_DOWNLOAD_DIR": f"{directory}/cache", **ENVIRON, **environ}
        yield resolve(settings, engine_fields=field_names).options


def startup_of(options: Options, factory: EngineFactory, report: Callable[[str], None], **nodes: Any) -> Startup:
    """The start of these options on this machine."""
    checked = CheckedMachine(inspect(), locate_model(options))
    made = factory if checked.located is not None else None
    return Startup(options, checked, made, **{"nodes": SingleNode(), "follows": False, **nodes}, report=report)


def with_service(use: Callable[[Service], Awaitable[Any]], engine: FakeEngine | None = None, **environ: str) -> Any:
    """The result of `use(service)`, with a media loader and no server."""
    scripted = engine or FakeEngine()

    async def life(options: Options) -> Any:
        media = MediaLoader(media_limits(options))
        await media.start()
        try:
            return await use(build_service(options, scripted, media, store=adapter_store(options, ())))
        finally:
            await media.aclose()

    with options_of(**environ) as options:
        return asyncio.run(life(options))


def _start(engine: FakeEngine, setup: Setup, options: Options) -> Served:
    handed: queue.Queue[Served] = queue.Queue()

    def run() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_life(engine, setup, options, handed))

    thread = threading.Thread(target=run)
    thread.start()
    served = handed.get(timeout=10)
    served.thread = thread
    return served


async def _life(engine: FakeEngine, setup: Setup, options: Options, handed: "queue.Queue[Served]") -> None:
    health, admission = Health(), Admission(setup.queue)
    app = build_app(health, admission, Metrics(CollectorRegistry()), setup.serving)
    loading = setup.loading
    load = (lambda: None) if loading is None else (lambda: loading.wait(setup.loading_seconds))
    factory = FakeFactory(engine, setup.later, load)
    engine.unscripted = frozenset() if setup.warm else frozenset({REQUEST_ID})
    supervised = SupervisedFactory(factory, setup.supervision)
    startup = startup_of(options, supervised, health.loading, nodes=setup.nodes, follows=setup.follows)
    server = Server(
        app,
        startup,
        nodes=setup.nodes,
        health=health,
        admission=admission,
        draining_seconds=setup.draining,
        slow_readers=setup.slow_readers,
    )
    sock = bind("127.0.0.1", 0)
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    served = Served(url, engine, health, httpx.Client(base_url=url, timeout=20), asyncio.get_running_loop())
    handed.put(served)
    try:
        served.outcome["code"] = await server.run(sock, served.stop)
    except StartError as fault:
        served.outcome["fault"] = fault


def _end(served: Served, setup: Setup) -> None:
    if setup.loading is not None:
        setup.loading.set()
    if served.thread.is_alive():
        if served.engine.gate is not None:
            served.call(served.engine.gate.set)
        served.terminate()
    served.thread.join(timeout=20)


def _until_loaded(served: Served) -> None:
    for _ in range(1000):
        if served.health.phase != "loading" or not served.thread.is_alive():
            return
        served.thread.join(timeout=0.01)


def data_url(width: int = 4, height: int = 3, color: str = "red", kind: str = "png") -> str:
    """An image of one color as a data: URL."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), color).save(file, kind)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def ask(*content: Any, **parameters: Any) -> dict[str, Any]:
    """A request of one user message: texts as strings, images as URLs that begin with data: or http."""
    parts = [
        {"type": "image_url", "image_url": {"url": part}}
        if isinstance(part, str) and part.startswith(("data:", "http"))
        else {"type": "text", "text": part}
        if isinstance(part, str)
        else part
        for part in content
    ]
    return {"messages": [{"role": "user", "content": parts}], **parameters}


def answer(response: httpx.Response) -> str:
    """The text of a chat completion."""
    assert response.status_code == 200, response.text
    text: str = response.json()["choices"][0]["message"]["content"]
    return text


def fault(response: httpx.Response) -> dict[str, Any]:
    """The error object of a response."""
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def wait_for(condition: Any) -> None:
    """Return once `condition()` holds; it has thirty seconds."""
    waiting = threading.Event()
    for _ in range(3000):
        if condition():
            return
        waiting.wait(0.01)
    raise AssertionError("it did not happen")
