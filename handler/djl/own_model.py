"""A model that the user's code owns: called once to load it, then once a request."""

import inspect
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

from handler.djl import reading
from handler.djl.call import Answer, Call
from handler.djl.djl_python import Input, Output, PairList
from handler.djl.failures import told
from handler.djl.forms import contents
from handler.djl.pipelines import pipeline
from handler.djl.reading import Unfit
from handler.djl.streams import Stream, is_stream
from handler.djl.user_module import UserModule, is_asynchronous, refuse
from handler.djl.user_thread import Failed, GivenUp, Turn, UserThread
from handler.engine import ModelCard
from handler.errors import StartError

CUSTOM_ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"


class OwnModel:
    """Answers with what `code` returns. `properties` are the options, as strings by LMI's names; `names` what the model
    is served under. `thread` is the one that executed the code."""

    def __init__(
        self, code: UserModule, thread: UserThread, *, properties: Mapping[str, str], names: tuple[str, ...]
    ) -> None:
        self._code = code
        self._thread = thread
        self._properties = properties
        self.card = ModelCard(names, max_model_len=0, supports_images=True, created=int(time.time()))
        row = None if code.handle is not None else pipeline(code)
        self._handle: Callable[[Input], Any] = row.handle if row is not None else code.handle  # type: ignore[assignment]
        self._row = row

    async def start(self) -> None:
        """Let the code load its model, by LMI's call with an empty Input. Raises StartError."""
        if not is_asynchronous(self._handle):
            self._thread.one_by_one()
        try:
            await self._thread.run(self._load, bounded=False)
        except (Failed, GivenUp) as failure:
            refuse(self._code.entry, "failed to load the model", getattr(failure, "error", failure))

    async def answer(self, call: Call) -> Answer:
        """What the code makes of `call`. Raises UserCodeFailed and PredictTimeout, and RequestError where the code left
        a content to defaults that cannot read it. Cancelled, an async handler is cancelled."""
        async with AsyncExitStack() as stack:
            turn = await stack.enter_async_context(self._thread.turn())
            try:
                result = await turn.run(lambda: self._handle(self._input(call)))
                if is_stream(result):
                    return await self._stream(Stream(result), turn, call, stack)
                if isinstance(result, Output):
                    turn.at_end(result.execute_finalize)
                return _whole(result)
            except (Failed, GivenUp, Unfit) as failure:
                raise told(failure, self._code.entry.file.name, call.id) from failure

    async def _stream(self, stream: Stream, turn: Turn, call: Call, stack: AsyncExitStack) -> Answer:
        turn.at_end(stream.close)
        piece = await turn.run(stream.take)
        code, headers = reading.opening(stream.output)
        if piece is not None and piece.failed is not None:
            return Answer(piece.failed, {**headers, "content-type": "application/json"}, piece.data)
        kept = stack.pop_all()  # the turn lasts as long as the stream
        return Answer(code, headers, pieces=self._pieces(piece, stream, turn, call, kept))

    async def _pieces(
        self, piece: reading.Piece | None, stream: Stream, turn: Turn, call: Call, kept: AsyncExitStack
    ) -> AsyncGenerator[bytes, None]:
        async with kept:
            try:
                while piece is not None:
                    if piece.data:
                        yield piece.data
                    piece = None if piece.last else await turn.run(stream.take)
            except (Failed, GivenUp) as failure:
                raise told(failure, self._code.entry.file.name, call.id) from failure

    async def _load(self) -> None:
        if self._row is not None:
            self._row.init(self._empty().properties)
            return
        result = self._handle(self._empty())
        if inspect.isawaitable(result):
            result = await result
        if is_stream(result):  # a generator does nothing until it is asked
            stream = Stream(result)
            while await stream.take() is not None:
                pass
            await stream.close()
        elif isinstance(result, Output) and reading.status(result.code) >= 400:
            raise StartError(
                f"{self._code.entry.file} failed to load the model: {result.body()[:500].decode(errors='replace')}"
            )

    def _empty(self) -> Input:
        inputs = Input()
        inputs.function_name = getattr(self._handle, "__name__", "handle")
        inputs.properties.update(self._properties)
        return inputs

    def _input(self, call: Call) -> Input:
        inputs = Input()
        inputs.function_name = getattr(self._handle, "__name__", "handle")
        inputs.properties.update(call.headers)
        for pair in call.headers.get(CUSTOM_ATTRIBUTES, "").split(";"):
            name, equals, value = pair.partition("=")
            if equals and name.strip():
                inputs.properties[name.strip()] = value.strip()
        # Last: a client's header may add to the options, and replace none of them.
        inputs.properties.update(self._properties)
        inputs.content.add_all(PairList(pair_list=contents(call)))
        return inputs


def _whole(result: Any) -> Answer:
    if result is None:
        return Answer(204, {})
    if not isinstance(result, Output):
        raise Unfit(f"it returned {type(result).__name__}; a handler returns an Output, None, or a generator of pieces")
    return Answer(*reading.whole(result))
