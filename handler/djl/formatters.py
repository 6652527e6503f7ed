"""The user's input and output formatters around vLLM: a payload in, a payload out; a response in, bytes out."""

import json
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

from handler.djl.call import Call
from handler.djl.djl_python import Input, PairList
from handler.djl.djl_python.outputs import plain
from handler.djl.djl_python.request_io import RequestInput
from handler.djl.failures import told
from handler.djl.forms import contents
from handler.djl.pipelines import keyword_call
from handler.djl.response import response
from handler.djl.user_module import Function, UserModule, refuse, takes_input
from handler.djl.user_thread import Failed, GivenUp, UserThread
from handler.payload import adapter_choice as adapters

DONE = b"[DONE]"


class Formatters:
    """Those that `code` has; `tokenizer` gives the model's, once it is loaded, to an input formatter that asks for it."""

    def __init__(
        self,
        code: UserModule,
        thread: UserThread,
        *,
        properties: Mapping[str, str],
        tokenizer: Callable[[], Any] = lambda: None,
    ) -> None:
        self._code = code
        self._thread = thread
        self._properties = properties
        self._tokenizer = tokenizer

    async def start(self) -> None:
        """Call the init handler, if there is one. Raises StartError."""
        init = self._code.init_handler
        if init is None:
            return
        directory, properties = self._properties["model_dir"], self._properties
        try:
            await self._thread.run(lambda: keyword_call(init, directory, properties=properties), bounded=False)
        except (Failed, GivenUp) as failure:
            refuse(self._code.entry, "failed to initialise", getattr(failure, "error", failure))

    @property
    def formats_input(self) -> bool:
        """Whether payloads are formatted."""
        return self._code.input_formatter is not None

    @property
    def reads_raw_request(self) -> bool:
        """Whether that formatter is given the request as it came, which then need not be one that the server can read."""
        return self._code.input_formatter is not None and takes_input(self._code.input_formatter)

    @property
    def formats_output(self) -> bool:
        """Whether responses are formatted."""
        return self._code.output_formatter is not None

    async def payload(self, payload: Mapping[str, Any], call: Call) -> dict[str, Any]:
        """What is served in place of `payload`, the decoded body of `call`. Raises RequestError and UserCodeFailed."""
        formatter = self._code.input_formatter
        assert formatter is not None  # noqa: S101  # `formats_input` says so
        made: dict[str, Any] = await self._run(lambda: self._formatted_input(formatter, dict(payload), call), call.id)
        # LMI asks for the adapter before the formatter is called, which may build a payload without it.
        chosen = {adapters.FIELD: payload[adapters.FIELD]} if adapters.FIELD in payload else {}
        return {**chosen, **made}

    async def format_response(self, text: bytes, request_id: str) -> bytes:
        """What the client gets of a whole response."""
        sent: bytes = await self._run(lambda: self._formatted(response(text)), request_id)
        return sent.removesuffix(b"\n")

    async def stream(self, chunks: AsyncIterable[bytes], request_id: str) -> AsyncGenerator[bytes, None]:
        """What the client gets of each chunk. A formatter is given vLLM's own text of it: an event, and [DONE] last."""
        async with aclosing(self._events(chunks)) as events:
            async for event in events:
                text = event.decode()
                if piece := await self._run(lambda text=text: self._formatted(text), request_id):  # type: ignore[misc]
                    yield piece

    @staticmethod
    async def _events(chunks: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
        try:
            async for chunk in chunks:
                yield b"data: " + chunk + b"\n\n"
            yield b"data: " + DONE + b"\n\n"
        finally:
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()

    async def _run(self, step: Callable[[], Any], request_id: str) -> Any:
        try:
            return await self._thread.run(step)
        except (Failed, GivenUp) as failure:
            raise told(failure, self._code.entry.file.name, request_id) from failure

    # In the user's thread:

    def _formatted_input(self, formatter: Function, payload: dict[str, Any], call: Call) -> dict[str, Any]:
        given = self._input(call) if takes_input(formatter) else payload
        made = keyword_call(formatter, given, properties=self._properties, tokenizer=self._tokenizer())
        if isinstance(made, RequestInput):
            made = {"inputs": getattr(made, "input_text", ""), "parameters": made.parameters}
        if not isinstance(made, dict):
            raise TypeError(f"{formatter.__name__} returned {type(made).__name__}; it must return the payload, a dict")
        return made

    def _input(self, call: Call) -> Input:
        inputs = Input()
        inputs.properties.update(call.headers)
        inputs.properties.update(self._properties)
        inputs.content.add_all(PairList(pair_list=contents(call)))
        return inputs

    def _formatted(self, given: Any) -> bytes:
        formatter = self._code.output_formatter
        assert formatter is not None  # noqa: S101  # `formats_output` says so
        made = formatter(given)
        if made is None:
            if isinstance(given, str):
                return b""
            raise TypeError(f"{formatter.__name__} returned None; it must return the answer: text, a dict or a model")
        if isinstance(made, bytes | bytearray):
            encoded = bytes(made)
        elif isinstance(made, str):
            encoded = made.encode()
        elif hasattr(made, "model_dump_json"):
            encoded = made.model_dump_json().encode()
        else:
            encoded = json.dumps(made, ensure_ascii=False, allow_nan=False, default=plain).encode()
        # As LMI does, so that clients which read lines see each piece at once.
        return encoded if encoded.endswith(b"\n") or not encoded else encoded + b"\n"


class Answering(Protocol):
    """What answers a request, whole or in chunks."""

    @property
    def ignored(self) -> tuple[str, ...]: ...

    @property
    def stream(self) -> bool: ...

    @property
    def generates(self) -> bool: ...

    async def complete(self, request_id: str) -> bytes: ...

    def chunks(self, request_id: str) -> AsyncGenerator[bytes, None]: ...


@dataclass(frozen=True, slots=True)
class Formatted:
    """A task whose answer goes through the output formatter; its chunks are what the client gets, as they are."""

    task: Answering
    formatters: Formatters

    @property
    def ignored(self) -> tuple[str, ...]:
        return self.task.ignored

    @property
    def stream(self) -> bool:
        return self.task.stream

    @property
    def generates(self) -> bool:
        return self.task.generates

    async def complete(self, request_id: str) -> bytes:
        return await self.formatters.format_response(await self.task.complete(request_id), request_id)

    def chunks(self, request_id: str) -> AsyncGenerator[bytes, None]:
        return self.formatters.stream(self.task.chunks(request_id), request_id)
