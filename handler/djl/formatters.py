"""The user's input and output formatters around vLLM: a payload in, a payload out; a response in, bytes out."""

import json
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Mapping
from contextlib import aclosing
from typing import Any

from handler.djl.call import Call
from handler.djl.djl_python import Input
from handler.djl.djl_python.encode_decode import decode
from handler.djl.djl_python.outputs import plain
from handler.djl.djl_python.request_io import RequestInput
from handler.djl.failures import told
from handler.djl.forms import contents
from handler.djl.pipelines import keyword_call
from handler.djl.response import response
from handler.djl.user_module import Function, UserModule, takes_input
from handler.djl.user_thread import Failed, GivenUp, UserThread
from handler.errors import InvalidRequest

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

    @property
    def read(self) -> bool:
        """Whether payloads are formatted."""
        return self._code.input_formatter is not None

    @property
    def write(self) -> bool:
        """Whether responses are formatted."""
        return self._code.output_formatter is not None

    async def payload(self, call: Call) -> bytes:
        """The JSON text of what is served in place of `call`. Raises RequestError and UserCodeFailed."""
        formatter = self._code.input_formatter
        assert formatter is not None  # noqa: S101  # `read` says so
        return bytes(await self._run(lambda: self._formatted_input(formatter, call), call.id))

    async def whole(self, text: bytes, request_id: str) -> bytes:
        """What the client gets of a whole response."""
        sent = await self._run(lambda: self._formatted(response(text)), request_id)
        return bytes(sent)

    async def stream(self, chunks: AsyncIterable[bytes], request_id: str) -> AsyncGenerator[bytes, None]:
        """What the client gets of each chunk. A formatter is given vLLM's own text of it: an event, and [DONE] last."""
        async with aclosing(self._events(chunks)) as events:
            async for event in events:
                text = event.decode()
                if piece := await self._run(lambda text=text: self._formatted(text), request_id):  # type: ignore[misc]
                    yield piece

    async def stop(self) -> None:
        """End the thread of the code."""
        await self._thread.stop()

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

    def _formatted_input(self, formatter: Function, call: Call) -> bytes:
        inputs = Input()
        inputs.properties.update(self._properties)
        inputs.properties.update(call.headers)
        for key, value in contents(call):
            inputs.content.add(key, value)
        try:
            given = inputs if takes_input(formatter) else decode(inputs, call.content_type or None)
        except (ValueError, OSError) as broken:
            raise InvalidRequest(
                f"The body is not what its content type says: {broken}", code="invalid_json"
            ) from broken
        payload = keyword_call(formatter, given, properties=self._properties, tokenizer=self._tokenizer())
        if isinstance(payload, RequestInput):
            payload = {"inputs": getattr(payload, "input_text", ""), "parameters": payload.parameters}
        if not isinstance(payload, dict):
            raise TypeError(
                f"{formatter.__name__} returned {type(payload).__name__}; it must return the payload, a dict"
            )
        return json.dumps(payload, ensure_ascii=False, allow_nan=False, default=plain).encode()

    def _formatted(self, given: Any) -> bytes:
        formatter = self._code.output_formatter
        assert formatter is not None  # noqa: S101  # `write` says so
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
