"""The real server, on a real port of loopback, over a scripted engine."""

import asyncio
import base64
import io
import json
import queue
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import uvloop
from PIL import Image
from prometheus_client import CollectorRegistry

from container.http.admission import Admission
from container.http.app import build_app
from container.http.health import Health
from container.http.inference import Serving
from container.http.metrics import Metrics
from container.model_store import Kind, Located
from container.nodes.rendezvous import NodeGroup, SingleNode
from container.server import Server, Timing, bind
from container.start.backend import Backend, CodeSettings
from container.start.warm_up import warm_up
from handler.adapters.registry import Adapters
from handler.adapters.store import AdapterStore
from handler.djl.formatters import Formatters
from handler.engines.fake import FakeEngine
from handler.errors import StartError
from handler.image_placeholders import ImagePlaceholders
from handler.images import Images
from handler.media.limits import MediaLimits
from handler.media.loader import MediaLoader
from handler.service import Service
from handler.sessions import Sessions


@dataclass
class Served:
    """A server that runs in a thread. `code` is its exit code once it has ended, `fault` what ended its start."""

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
    """What differs between the servers of tests."""

    limits: MediaLimits = field(default_factory=lambda: MediaLimits(images_per_prompt=4))
    serving: Serving = field(default_factory=lambda: Serving(request_bytes=1 << 20, predict_seconds=10, batch_size=2))
    queue: int = 100
    token: str | None = None
    tgi: bool = False
    sessions: Sessions | None = None
    store: AdapterStore | None = None
    image_adapter: str | None = None
    timing: Timing = field(default_factory=lambda: Timing(loading=10, draining=10))
    warm: bool = False
    follows: bool = False  # another node answers
    nodes: NodeGroup = field(default_factory=SingleNode)
    code: CodeSettings = field(default_factory=CodeSettings)
    loading: threading.Event | None = None  # loading waits for it


@contextmanager
def serving(engine: FakeEngine | None = None, **different: Any) -> Iterator[Served]:
    """A server that is ready, unless `loading` holds it back."""
    setup = Setup(**different)
    served = _start(engine or FakeEngine(), setup)
    try:
        if setup.loading is None:
            _until_loaded(served)
        yield served
    finally:
        served.client.close()
        _end(served, setup)


def with_service(
    use: Callable[[Service], Awaitable[Any]],
    engine: FakeEngine | None = None,
    token: str | None = None,
    *,
    repeats: int = 1,
    **how: Any,
) -> Any:
    """The result of `use(service)`, with a started media room and no server."""
    scripted = engine or FakeEngine()

    async def life() -> Any:
        media = MediaLoader(MediaLimits(images_per_prompt=4))
        await media.start()
        try:
            placeholders = ImagePlaceholders(token, repeats)
            adapters = Adapters(scripted)
            return await use(Service(scripted, Images(scripted, media), adapters, placeholders=placeholders, **how))
        finally:
            await media.aclose()

    return asyncio.run(life())


def _start(engine: FakeEngine, setup: Setup) -> Served:
    handed: queue.Queue[Served] = queue.Queue()

    def run() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_life(engine, setup, handed))

    thread = threading.Thread(target=run)
    thread.start()
    served = handed.get(timeout=10)
    served.thread = thread
    return served


async def _life(engine: FakeEngine, setup: Setup, handed: "queue.Queue[Served]") -> None:
    health, admission = Health(), Admission(setup.queue)
    media = MediaLoader(setup.limits)
    app = build_app(health, admission, Metrics(CollectorRegistry()), setup.serving)

    async def fetch() -> str:
        return "model"

    async def load(_: str, formatters: Formatters | None) -> Service | None:
        await setup.nodes.meet(health.loading)
        if setup.follows:
            await setup.nodes.ready(engine.check)
            return None
        if setup.loading is not None:
            await asyncio.to_thread(setup.loading.wait, 2)
        await engine.start()
        service = Service(
            engine,
            Images(engine, media, setup.sessions),
            Adapters(engine, setup.store, setup.image_adapter),
            sessions=setup.sessions,
            placeholders=ImagePlaceholders(setup.token),
            always_list=setup.tgi,
            formatters=formatters,
        )
        if setup.warm:
            await warm_up(service, images_allowed=True)
        await setup.nodes.ready(engine.check)
        return service

    located = Located(Kind.DIRECTORY, "model", ("fake",))
    names, say = ("mine",), health.loading
    backend = Backend(setup.code, located, engine, names=names, fetch=fetch, load=load, say=say)
    server = Server(app, backend, nodes=setup.nodes, health=health, admission=admission, timing=setup.timing)
    sock = bind("127.0.0.1", 0)
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    served = Served(url, engine, health, httpx.Client(base_url=url, timeout=20), asyncio.get_running_loop())
    handed.put(served)
    await media.start()
    try:
        served.outcome["code"] = await server.run(sock, served.stop)
    except StartError as fault:
        served.outcome["fault"] = fault
    finally:
        await media.aclose()


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
    """The error object of a refusal."""
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def wait_for(condition: Any) -> None:
    """Return once `condition()` holds; it has five seconds."""
    waiting = threading.Event()
    for _ in range(500):
        if condition():
            return
        waiting.wait(0.01)
    raise AssertionError("it did not happen")
