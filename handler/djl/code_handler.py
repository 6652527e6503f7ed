"""The functions of user code that take requests, called in its thread: a call in, its result out, or None."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack

from handler.djl.call import Call, CallResult
from handler.djl.djl_python import Input, Output
from handler.djl.djl_python.outputs import JSON
from handler.djl.failures import CodeFailure, translate_failure
from handler.djl.pipelines import pipeline
from handler.djl.request_input import request_input
from handler.djl.serialization import Chunk, call_result, stream_head
from handler.djl.streams import Stream, is_stream
from handler.djl.user_module import UserModule, is_asynchronous
from handler.djl.user_thread import Turn, UserThread


class CodeHandler:
    """Calls what `code` has for requests. `properties` are the options as strings, by LMI's names. `thread` is the thread
    that executed the code."""

    def __init__(self, code: UserModule, thread: UserThread, *, properties: Mapping[str, str]) -> None:
        self._entry = code.entry
        self._pipeline = pipeline(code)
        self._thread = thread
        self._options = properties

    async def load(self) -> None:
        """Let the code load what it needs: LMI calls it with an empty Input. Raises CodeFailure."""
        if not is_asynchronous(self._pipeline.handle):
            self._thread.run_sequentially()
        empty = Call(body=b"")
        await self._thread.run(lambda: self._pipeline.load(self._input(empty)), bounded=False)

    async def handle(self, call: Call) -> CallResult | None:
        """What the code returns for `call`; None, if it returns nothing, leaves the request to the caller. Raises
        UserCodeFailed and PredictTimeout, and RequestError if the code leaves content to defaults that cannot read it.
        Cancelling this cancels an async handler."""
        async with AsyncExitStack() as stack:
            turn = await stack.enter_async_context(self._thread.turn())
            try:
                output = await turn.run(lambda: self._pipeline.handle(self._input(call)))
                if is_stream(output):
                    return await self._start_stream(Stream(output), turn, call, stack)
                if isinstance(output, Output):
                    turn.at_end(output.execute_finalize)
                return None if output is None else call_result(output)
            except CodeFailure as failure:
                raise translate_failure(failure, self._entry.file.name, call.id) from failure

    async def _start_stream(self, stream: Stream, turn: Turn, call: Call, stack: AsyncExitStack) -> CallResult:
        turn.at_end(stream.close)
        first = await turn.run(stream.next_chunk)
        status, headers = stream_head(stream.head)
        if first is not None and first.error_status is not None:
            return CallResult(first.error_status, {**headers, "content-type": JSON}, first.data)
        scope = stack.pop_all()  # the turn lasts as long as the stream
        return CallResult(status, headers, chunks=self._chunks(first, stream, turn, call, scope))

    async def _chunks(
        self, chunk: Chunk | None, stream: Stream, turn: Turn, call: Call, scope: AsyncExitStack
    ) -> AsyncGenerator[bytes, None]:
        async with scope:
            try:
                while chunk is not None:
                    if chunk.data:
                        yield chunk.data
                    chunk = None if chunk.last else await turn.run(stream.next_chunk)
            except CodeFailure as failure:
                raise translate_failure(failure, self._entry.file.name, call.id) from failure

    def _input(self, call: Call) -> Input:
        inputs = request_input(call, self._options)
        inputs.function_name = getattr(self._pipeline.handle, "__name__", "handle")
        return inputs
