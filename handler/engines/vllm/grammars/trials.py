"""The front end's side: a request's grammar -> a grammar that a trial has passed, with the backend that vLLM chose."""

import asyncio
import dataclasses
import hashlib
import json
import signal
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from typing import Any

from vllm.config import VllmConfig
from vllm.sampling_params import StructuredOutputsParams

from handler.concurrency import in_background
from handler.engines.vllm.failures import public_message
from handler.engines.vllm.grammars.limits import GrammarLimits
from handler.engines.vllm.grammars.trial import MASK_SECONDS, MASKS, MEMORY, longest_wait
from handler.engines.vllm.grammars.trial_server import TrialServer
from handler.errors import EngineDead, InvalidRequest, Unavailable
from handler.turns import Source, Turns

Verdict = Mapping[str, Any]

VERDICTS = 512
# Nearly all grammars take less. The others are tried again, one at a time, so that nobody else waits for them.
SHORT_SECONDS = 2.0
SHORT_TRIALS = 2
STARTING_SECONDS = 60.0
TIME, STACK = "time", "stack"
_EXCEEDED = {signal.SIGPROF: TIME, signal.SIGABRT: MEMORY, signal.SIGSEGV: STACK, signal.SIGBUS: STACK}
_OTHER_BACKEND = ' The operator can choose another: OPTION_STRUCTURED_OUTPUTS_CONFIG={"backend": "guidance"}.'
_BUSY = "The server is busy with the grammars of other requests; please try again."


class GrammarTrials:
    """Verdicts on grammars, kept by hash. The process that tries them starts with the first one, and is replaced when it
    has ended."""

    def __init__(self, config: VllmConfig, limits: GrammarLimits) -> None:
        self._config = config
        self.limits = limits
        self._verdicts: OrderedDict[bytes, asyncio.Task[Verdict]] = OrderedDict()
        self._short = Turns(1, of_client=1, total=SHORT_TRIALS)
        self._long = Turns(1, of_client=1, total=1)
        self._server: asyncio.Future[TrialServer] | None = None

    async def passed(self, params: StructuredOutputsParams, path: str, client: str = "") -> StructuredOutputsParams:
        """`params` as vLLM's validation leaves them, with the backend. Clients take turns at the trials.

        Raises InvalidRequest, with `path`, for a grammar that vLLM refuses or that exceeds a limit, and Unavailable if too
        many others are being tried.
        """
        if params._backend is not None:  # noqa: SLF001  # what vLLM's validation sets
            return params
        given = {field.name: getattr(params, field.name) for field in dataclasses.fields(params) if field.init}
        verdict = await self._verdict(given, client)
        if "passed" not in verdict:
            raise InvalidRequest(self._reason(verdict), param=path)
        passed = StructuredOutputsParams(**given)
        for name, value in verdict["passed"].items():
            setattr(passed, name, value)
        return passed

    def close(self) -> None:
        """End the process."""
        for verdict in tuple(self._verdicts.values()):
            verdict.cancel()
        if self._server is not None and self._server.done() and self._server.exception() is None:
            self._server.result().end()

    async def _verdict(self, given: Mapping[str, Any], client: str) -> Verdict:
        key = hashlib.sha256(json.dumps(given).encode()).digest()
        if key not in self._verdicts:
            self._verdicts[key] = asyncio.create_task(self._try(given, client))
            self._verdicts[key].add_done_callback(partial(self._forget_failure, key))
        self._verdicts.move_to_end(key)
        if len(self._verdicts) > VERDICTS:
            self._verdicts.popitem(last=False)
        task = self._verdicts[key]
        try:
            return await asyncio.shield(task)  # others may wait for it too
        except asyncio.CancelledError:
            if not task.cancelled():
                raise
            raise EngineDead("The engine has ended while a grammar was tried.") from None

    def _forget_failure(self, key: bytes, task: "asyncio.Task[Verdict]") -> None:
        if (task.cancelled() or task.exception()) and self._verdicts.get(key) is task:
            del self._verdicts[key]

    async def _try(self, given: Mapping[str, Any], client: str) -> Verdict:
        seconds, source = self.limits.seconds, Source(client)
        verdict = await self._run(self._short.turn(source, 1), given, min(SHORT_SECONDS, seconds))
        if verdict.get("died") in (signal.SIGPROF, signal.SIGALRM) and seconds > SHORT_SECONDS:
            verdict = await self._run(self._long.turn(source, 1), given, seconds)
        if "died" not in verdict:
            return verdict
        if (died := verdict["died"]) not in _EXCEEDED:  # by the clock on the wall, or killed by someone else
            raise Unavailable(_BUSY, retry_after=1)
        return {"exceeded": _EXCEEDED[died]}

    async def _run(self, turn: AbstractAsyncContextManager[None], given: Mapping[str, Any], seconds: float) -> Verdict:
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self.limits.seconds):
                    await stack.enter_async_context(turn)
            except TimeoutError as fault:
                raise Unavailable(_BUSY, retry_after=1 + int(self.limits.seconds)) from fault
            job = json.dumps([given, {"seconds": seconds, "memory": self.limits.memory}]).encode()
            patience = STARTING_SECONDS + longest_wait(seconds)
            # That a process has ended is noticed by the first trial that it does not begin.
            return await self._ask(job, patience) or await self._ask(job, patience) or {"died": signal.SIGKILL}

    async def _ask(self, job: bytes, seconds: float) -> Verdict | None:
        """The verdict, or None if the process ends before there is one."""
        server = await self._running()
        try:
            async with asyncio.timeout(seconds):
                answer = await _converse(server, job)
        except OSError:  # it has ended, or its time is over
            answer = b""
        if answer:
            verdict: Verdict = json.loads(answer)
            return verdict
        server.end()
        if self._server is not None and self._server.done() and self._server.result() is server:
            self._server = None
        return None

    async def _running(self) -> TrialServer:
        if self._server is None:
            self._server = in_background(lambda: TrialServer(self._config))
        try:
            return await asyncio.shield(self._server)
        except Exception:
            self._server = None
            raise

    def _reason(self, verdict: Verdict) -> str:
        limits = self.limits
        reasons = {
            TIME: f"takes more than {limits.seconds:g} seconds of computing to compile; use a simpler one, or raise "
            "OPTION_GRAMMAR_COMPILE_TIMEOUT",
            MEMORY: f"needs more than {limits.memory // 2**20} MiB of memory to compile; use a simpler one, or raise "
            "OPTION_GRAMMAR_COMPILE_MEMORY",
            STACK: "is nested or chained too deeply for the compiler; use a flatter one",
            MASKS: f"is too ambiguous: one of its first tokens takes more than {MASK_SECONDS:g} seconds to compute; use a "
            "simpler one",
        }
        if "exceeded" in verdict:
            return f"The grammar {reasons[verdict['exceeded']]}."
        message = public_message(verdict["refused"])
        return message + _OTHER_BACKEND if message.endswith("by xgrammar.") else message


async def _converse(server: TrialServer, job: bytes) -> bytes:
    """What the trial answers; nothing if it ends without an answer."""
    reader, writer = await asyncio.open_connection(sock=server.begin_trial())
    try:
        writer.write(job)
        writer.write_eof()
        return await reader.read()
    finally:
        writer.close()
