"""The thread that the user's code runs in, so that nothing it does can hold up the server's event loop."""

import asyncio
import concurrent.futures
import ctypes
import inspect
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

log = logging.getLogger("lumi.user_code")

GRACE_SECONDS = 1.0  # for the thread to answer before it is taken for stuck

Step = Callable[[], Any]
Result = concurrent.futures.Future[tuple[Any, BaseException | None]]


class Failed(Exception):
    """User code raised `error`, which may be anything: SystemExit must not reach the server's loop as such."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(repr(error))
        self.error = error


class GivenUp(Exception):
    """The step had used up its time, and was cancelled or interrupted."""


class Interrupted(BaseException):
    """Raised inside user code that has used up its time, wherever it is."""


class UserThread:
    """A daemon thread with an event loop of its own. Coroutines run on it side by side, functions one after the other.

    `seconds` bounds each step of a turn.
    """

    def __init__(self, *, seconds: float) -> None:
        self._seconds = seconds
        self._one_by_one = False
        self._lock = asyncio.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._live, name="lumi-user-code", daemon=True)
        self._stopping = False

    def start(self) -> None:
        self._thread.start()

    def one_by_one(self) -> None:
        """From now on a turn ends, its stream included, before the next begins. A worker of LMI with a plain `handle`
        does the same, and such handlers count on it."""
        self._one_by_one = True

    async def run(self, step: Step, *, bounded: bool = True) -> Any:
        """The result of a turn of one step; see `Turn.run`."""
        async with self.turn() as turn:
            return await turn.run(step, bounded=bounded)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator["Turn"]:
        """A turn for several steps. Leaving it does not wait for what still runs; the next turn does."""
        if self._one_by_one:
            await self._lock.acquire()
        turn = Turn(self._loop, self._thread, self._seconds, self._release())
        try:
            yield turn
        finally:
            turn.end()

    async def stop(self) -> None:
        """End the thread; one that is stuck is left to the end of the process."""
        self._stopping = True
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._loop.stop)
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, GRACE_SECONDS)

    def _release(self) -> Callable[[], None]:
        if not self._one_by_one:
            return lambda: None
        loop = asyncio.get_running_loop()

        def release() -> None:
            with suppress(RuntimeError):  # the server's loop has ended meanwhile
                loop.call_soon_threadsafe(self._lock.release)

        return release

    def _live(self) -> None:
        asyncio.set_event_loop(self._loop)
        while not self._stopping:
            try:
                self._loop.run_forever()
            except BaseException as stray:  # noqa: BLE001  # a task of the user's own may raise SystemExit through the loop
                log.warning("user code ended its event loop with %s; it goes on", type(stray).__name__)
        with suppress(BaseException):
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.wait(tasks, timeout=GRACE_SECONDS / 2))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


class Turn:
    """The steps of one request, all in one task of the user's loop: what one of them enters, another may leave."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, thread: threading.Thread, seconds: float, release: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._thread = thread
        self._seconds = seconds
        self._release = release
        self._steps: asyncio.Queue[tuple[Step, Result] | None] = asyncio.Queue()
        self._last: Step | None = None
        self._task: asyncio.Task[None] | None = None
        self._on_loop(self._begin)

    def at_end(self, step: Step) -> None:
        """Do `step` when the turn ends, however it ends."""
        self._last = step

    async def run(self, step: Step, *, bounded: bool = True) -> Any:
        """What `step` returns, awaited if it is awaitable. Raises Failed with what it raised, and GivenUp.

        Cancelled or out of time, what awaits in `step` is cancelled. A function that computes may go on until its time
        is used up, and is interrupted then.
        """
        result: Result = concurrent.futures.Future()
        self._on_loop(self._steps.put_nowait, (step, result))
        timer = asyncio.get_running_loop().call_later(self._seconds, self._break_off, result) if bounded else None
        try:
            value, error = await asyncio.wrap_future(result)
        except asyncio.CancelledError:
            self._on_loop(self._cancel, result)
            raise
        if timer is not None:
            timer.cancel()
        if isinstance(error, asyncio.CancelledError | Interrupted):
            raise GivenUp from error
        if error is not None:
            raise Failed(error) from error
        return value

    def end(self) -> None:
        """No further step; what runs comes to its end first."""
        self._on_loop(self._steps.put_nowait, None)

    # In the user's thread:

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._serve())

    async def _serve(self) -> None:
        try:
            with suppress(asyncio.CancelledError):  # between two steps: the server is going down
                while (asked := await self._steps.get()) is not None:
                    step, result = asked
                    if not result.done() and result.set_running_or_notify_cancel():
                        result.set_result(await self._outcome(step))
            if self._last is not None:
                _, error = await self._outcome(self._last)
                if error is not None:
                    log.error("user code failed at the end of a request", exc_info=error)
        finally:
            self._release()

    async def _outcome(self, step: Step) -> tuple[Any, BaseException | None]:
        try:
            value = step()
            return (await value if inspect.isawaitable(value) else value), None
        except BaseException as error:  # noqa: BLE001  # whatever it is, it ends here
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

    # In the server's loop:

    def _break_off(self, result: Result) -> None:
        if result.done():
            return
        answered = threading.Event()
        self._on_loop(self._cancel, result)
        self._on_loop(answered.set)
        asyncio.get_running_loop().call_later(GRACE_SECONDS, self._interrupt, answered)

    def _interrupt(self, answered: threading.Event) -> None:
        # A loop that does not turn is held up by a function; pure Python ends here, and what waits in C ends when it
        # comes back from there.
        if not answered.is_set() and self._thread.ident is not None:
            log.warning("user code has used up its time (OPTION_PREDICT_TIMEOUT) and is interrupted")
            identity = ctypes.c_ulong(self._thread.ident)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(identity, ctypes.py_object(Interrupted))

    def _on_loop(self, function: Callable[..., Any], *arguments: Any) -> None:
        with suppress(RuntimeError):  # the thread has ended
            self._loop.call_soon_threadsafe(function, *arguments)
