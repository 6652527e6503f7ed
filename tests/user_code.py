"""User code in a model directory, executed for real in a thread of its own."""

import asyncio
import textwrap
import zipfile
from contextlib import asynccontextmanager
from pathlib import Path

from handler.djl import user_code
from handler.djl.call import Call
from handler.djl.entry_point import find
from handler.djl.own_model import OwnModel


def write(directory: Path, text: str, name: str = "model.py") -> Path:
    """A Python file of the model directory."""
    file = directory / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(textwrap.dedent(text))
    return file


def wheel(directory, name, version="1.0", needs=()):
    """A wheel of one module that knows its version, as pip installs it without a network."""
    directory.mkdir(exist_ok=True)
    file = directory / f"{name}-{version}-py3-none-any.whl"
    lines = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}", *(f"Requires-Dist: {need}" for need in needs)]
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{name}.py", f"version = {version!r}\n")
        archive.writestr(f"{name}-{version}.dist-info/METADATA", "\n".join(lines) + "\n")
        archive.writestr(
            f"{name}-{version}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{name}-{version}.dist-info/RECORD", "")
    return file


@asynccontextmanager
async def execute_code(
    directory: Path, *, name: str | None = None, handler: str = "handle", seconds: float = 10, grace_seconds: float = 1
):
    """The code of `directory`, loaded; `name` is the entry point, if the option names one."""
    code = await user_code.execute(
        find(name, [directory]),
        handler=handler,
        install_requirements=False,
        seconds=seconds,
        grace_seconds=grace_seconds,
    )
    try:
        yield code
    finally:
        await code.stop()


@asynccontextmanager
async def own_model(directory: Path, **different):
    """The model that the code of `directory` owns, loaded."""
    properties = {"model_dir": str(directory), **different.pop("properties", {})}
    async with execute_code(directory, **different) as code:
        model = OwnModel(code.module, code.thread, properties=properties, names=("mine",))
        await model.start()
        yield model


def results(directory: Path, *calls: Call, **different):
    """The result of each call, its stream read to the end: (status, headers, body)."""

    async def handle():
        async with own_model(directory, **different) as model:
            return [await read(await model.handle(call)) for call in calls]

    return asyncio.run(handle())


async def read(result):
    body = result.body if result.chunks is None else b"".join([chunk async for chunk in result.chunks])
    return result.status, dict(result.headers), body


def json_call(body: bytes = b"{}", **headers: str) -> Call:
    """A request of JSON."""
    return Call(body, {"content-type": "application/json", **headers})
