"""The command `diff`: a model, a request and two engines -> the report. The engines run one after the other, as two may not
fit into the memory."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from container.diff.answer import Answer, answer
from container.diff.report import agree, describe
from container.nodes.rendezvous import SingleNode
from container.options import Options
from container.start.machine import CheckedMachine
from container.start.startup import Startup
from handler.engine import Engine, EngineFactory
from handler.errors import LumiError, StartError
from handler.service import Service

SAME, DIFFERENT, FAILED = 0, 1, 2  # as diff(1)


def read_request(path: str) -> Mapping[str, Any]:
    """The JSON object in a file, or on stdin for `-`. Raises StartError."""
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text()
    except (OSError, UnicodeDecodeError) as fault:
        raise StartError(f"The request {path} cannot be read: {fault}") from fault
    try:
        payload = json.loads(text)
    except ValueError as fault:
        raise StartError(f"The request {path} is not JSON: {fault}") from fault
    if not isinstance(payload, dict):
        raise StartError(f"The request {path} is not a JSON object with `messages` or `prompt`.")
    return payload


async def compare(
    options: Options, checked: CheckedMachine, engines: Sequence[tuple[str, EngineFactory]], payload: Mapping[str, Any]
) -> int:
    """Print what the two named engines make of `payload`; the exit code. Raises StartError."""
    try:
        one, other = [await _ask(options, checked, name, factory, payload) for name, factory in engines]
    except StartError:
        raise
    except LumiError as fault:
        _tell(f"lumi diff: {fault}")
        return FAILED
    for line in describe(one, other):
        print(line)  # noqa: T201  # the answer of the command
    return SAME if agree(one, other) else DIFFERENT


async def _ask(
    options: Options, checked: CheckedMachine, name: str, factory: EngineFactory, payload: Mapping[str, Any]
) -> Answer:
    def report(stage: str) -> None:
        _tell(f"{name}: {stage}")

    startup = Startup(options, checked, factory, nodes=SingleNode(), follows=False, report=report)
    try:
        ready = await startup.run()
        if not isinstance(ready.service, Service):
            raise StartError("The user's code runs the model itself; there is no engine to compare.")
        return await answer(ready.service, cast("Engine", ready.node), payload, name=name)
    finally:
        await startup.stop()


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201  # stdout has the report
