"""The thread that runs user code, so that user code cannot block the server's event loop.

There are two event loops in two threads. A turn is one request. Its steps are calls of user code: the handler, then one
call per chunk of its stream. All steps of a turn run in one task, since what one step enters (a task group, a timeout)
another step leaves.

    server's loop                                     user's loop, in the daemon thread "lumi-user-code"

    async with thread.turn() as turn: ── begin() ───> one task per turn: _run_steps()
        await turn.run(step) ── step, result ───────>     value = step(), awaited if it is awaitable
                            <── result, a Future ────     result.set_result((value, error))
    leave the block ── None ────────────────────────>     the step of at_end(), then `finished`:
                                                          in sequential mode the next turn begins

A step is cancelled in four ways:

    cause                  state of the step   what happens                                      run() raises
    1. the client leaves   queued              the step is dropped                               CancelledError
                           awaiting            its task is cancelled
                           computing           nothing, until 3 interrupts it
    2. the time is up      queued, awaiting    the same as for 1                                 TimedOut
    3. the time is up      computing           the user's loop does not respond within the       TimedOut
                                               grace period: TimeLimitExceeded is raised in it
    4. UserThread.stop     awaiting            its task is cancelled, and its turn ends              TimedOut
                           computing           the thread is left to the end of the process
"""

import asyncio
import concurrent.futures
import ctypes
import inspect
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from handler.djl.failures import TimedOut, UserCodeError

log = logging.getLogger("lumi.user_code")

GRACE_SECONDS = 1.0  # for the user's loop to respond before user code is interrupted

Step = Callable[[], Any]
Result = concurrent.futures.Future[tuple[Any, BaseException | None]]


class TimeLimitExceeded(BaseException):
    """Raised inside user code that computes for too long, wherever it is."""


class UserThread:
    """A daemon thread with an event loop of its own. Coroutines run on it concurrently, functions sequentially.

    `seconds` limits each step of a turn.
    """

    def __init__(self, *, seconds: float, grace_seconds: float = GRACE_SECONDS) -> None:
        self._seconds = seconds
        self._grace_seconds = grace_seconds
        self._sequential = False
        self._lock = asyncio.Lock()
        self._turns: set[Turn] = set()  # those that may still get a step
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name="lumi-user-code", daemon=True)
        self._stopping = False

    def start(self) -> None:
        self._thread.start()

    def run_sequentially(self) -> None:
        """From now on a turn ends, with its stream, before the next one begins. An LMI worker with a plain `handle` does
        the same, and such handlers rely on it."""
        self._sequential = True

    async def run(self, step: Step, *, bounded: bool = True) -> Any:
        """The result of a turn of one step; see `Turn.run`."""
        async with self.turn() as turn:
            return await turn.run(step, bounded=bounded)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator["Turn"]:
        """A turn for several steps. Leaving it does not wait for a step that still runs; the next turn does."""
        turn = Turn(self._loop, self._thread, self._seconds, self._grace_seconds)
        if self._sequential:
            await self._lock.acquire()
            server_loop = asyncio.get_running_loop()
            turn.finished.add_done_callback(lambda _: _call_soon(server_loop, self._lock.release))
        self._turns.add(turn)
        turn.begin()
        try:
            yield turn
        finally:
            self._turns.discard(turn)
            turn.end()

    async def stop(self) -> None:
        """End the thread. If user code blocks it, it is left to the end of the process."""
        self._stopping = True
        for turn in self._turns:
            turn.end()
        _call_soon(self._loop, self._loop.stop)
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, self._grace_seconds)

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        while not self._stopping:
            try:
                self._loop.run_forever()
            except BaseException as error:  # noqa: BLE001  # a task of the user's own may raise SystemExit through the loop
                log.warning("user code stopped its event loop with %s; the loop is restarted", type(error).__name__)
        with suppress(BaseException):
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            if tasks:
                self._loop.run_until_complete(asyncio.wait(tasks, timeout=self._grace_seconds / 2))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


class Turn:
    """The steps of one request. `finished` is done once the last of them has ended."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, thread: threading.Thread, seconds: float, grace_seconds: float
    ) -> None:
        self.finished: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._loop = loop
        self._thread = thread
        self._seconds = seconds
        self._grace_seconds = grace_seconds
        self._steps: asyncio.Queue[tuple[Step, Result] | None] = asyncio.Queue()
        self._last_step: Step | None = None
        self._task: asyncio.Task[None] | None = None

    # Called in the server's loop:

    def begin(self) -> None:
        _call_soon(self._loop, self._create_task)

    def at_end(self, step: Step) -> None:
        """Run `step` when the turn ends, also after a failure."""
        self._last_step = step

    def end(self) -> None:
        """Accept no further step. A step that runs comes to its end first."""
        _call_soon(self._loop, self._steps.put_nowait, None)

    async def run(self, step: Step, *, bounded: bool = True) -> Any:
        """What `step` returns, awaited if it is awaitable. Raises UserCodeError and, if `bounded`, TimedOut."""
        result: Result = concurrent.futures.Future()
        _call_soon(self._loop, self._steps.put_nowait, (step, result))
        timer = asyncio.get_running_loop().call_later(self._seconds, self._time_out, result) if bounded else None
        try:
            value, error = await asyncio.wrap_future(result)
        except asyncio.CancelledError:
            _call_soon(self._loop, self._cancel, result)
            raise  # the timer keeps running: it interrupts a step that computes
        if timer is not None:
            timer.cancel()
        if isinstance(error, asyncio.CancelledError | TimeLimitExceeded):
            raise TimedOut from error
        if error is not None:
            raise UserCodeError(error) from error
        return value

    def _time_out(self, result: Result) -> None:
        if result.done():
            return
        responded = threading.Event()
        _call_soon(self._loop, self._cancel, result)
        _call_soon(self._loop, responded.set)
        asyncio.get_running_loop().call_later(self._grace_seconds, self._interrupt_unless, responded)

    def _interrupt_unless(self, responded: threading.Event) -> None:
        # A function blocks a loop that does not respond. Python code ends at once, C code when it returns to Python.
        if not responded.is_set() and self._thread.ident is not None:
            log.warning("user code exceeded OPTION_PREDICT_TIMEOUT and is interrupted")
            identity = ctypes.c_ulong(self._thread.ident)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(identity, ctypes.py_object(TimeLimitExceeded))

    # Called in the user's loop:

    def _create_task(self) -> None:
        self._task = self._loop.create_task(self._run_steps())

    async def _run_steps(self) -> None:
        try:
            with suppress(asyncio.CancelledError):  # between two steps: the thread stops
                while (item := await self._steps.get()) is not None:
                    step, result = item
                    if not result.done() and result.set_running_or_notify_cancel():
                        result.set_result(await self._call(step))
            if self._last_step is not None:
                _, error = await self._call(self._last_step)
                if error is not None:
                    log.error("user code failed at the end of a request", exc_info=error)
        finally:
            self.finished.set_result(None)

    async def _call(self, step: Step) -> tuple[Any, BaseException | None]:
        try:
            value = step()
            return (await value if inspect.isawaitable(value) else value), None
        except BaseException as error:  # noqa: BLE001  # user code may raise anything
            if self._task is not None and isinstance(error, asyncio.CancelledError):
                self._task.uncancel()
            return None, error

    def _cancel(self, result: Result) -> None:
        if result.done():
            return
        if not result.running():
            result.set_result((None, asyncio.CancelledError()))
        elif self._task is not None:
            self._task.cancel()


def _call_soon(loop: asyncio.AbstractEventLoop, function: Callable[..., Any], *arguments: Any) -> None:
    with suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(function, *arguments)
