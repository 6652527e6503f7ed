"""The user's code around vLLM. A handler comes first, and may leave the request to vLLM; formatters: a payload in, a payload
out; a response in, bytes out."""

import json
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any

from handler.djl.call import Call
from handler.djl.code_handler import CodeHandler
from handler.djl.djl_python.outputs import to_json_type
from handler.djl.djl_python.request_io import RequestInput
from handler.djl.entry_point import EntryPoint
from handler.djl.failures import CodeFailure, raise_start_error, translate_failure
from handler.djl.request_input import request_input
from handler.djl.response import parse_response
from handler.djl.user_module import Function, UserModule, call_with_options, takes_input
from handler.djl.user_thread import UserThread
from handler.errors import StartError
from handler.payload import adapter_choice

log = logging.getLogger("lumi.user_code")


class Formatters:
    """The formatters of `code`, and its handler if it has one: `handler` responds to a call, or returns None for vLLM to
    respond. `tokenizer` is the model's, for an input formatter that takes it."""

    def __init__(
        self,
        code: UserModule,
        thread: UserThread,
        *,
        properties: Mapping[str, str],
        tokenizer: Any = None,
    ) -> None:
        self._code = code
        self._thread = thread
        self._options = properties
        self._tokenizer = tokenizer
        self.handler = None if code.handle is None else CodeHandler(code, thread, properties=properties)

    async def start(self) -> None:
        """Call the init handler and let the handler load what it needs, if there are any. Raises StartError."""
        await self._initialize()
        if self.handler is None:
            return
        try:
            await self.handler.load()
        except (CodeFailure, StartError):
            # LMI goes on too: many handlers fail on the empty Input of the start, and the requests are what they are for.
            log.warning("%s failed on the empty Input of the start", self._code.entry.file, exc_info=True)

    async def _initialize(self) -> None:
        init = self._code.init_handler
        if init is None:
            return
        model_dir = self._options["model_dir"]
        try:
            await self._thread.run(lambda: call_with_options(init, model_dir, options=self._options), bounded=False)
        except CodeFailure as failure:
            raise_start_error(self._code.entry, "failed to initialize", failure)

    @property
    def sees_body(self) -> bool:
        """Whether there is a function that is to see every request."""
        return self.handler is not None or self.formats_input

    @property
    def entry(self) -> EntryPoint:
        """The file of the code."""
        return self._code.entry

    @property
    def formats_input(self) -> bool:
        """Whether there is an input formatter."""
        return self._code.input_formatter is not None

    @property
    def reads_raw_request(self) -> bool:
        """Whether the input formatter takes the raw request, so that the server need not be able to parse its body."""
        formatter = self._code.input_formatter
        return formatter is not None and takes_input(formatter, unless_annotated=self._is_of_rolling_batch)

    @property
    def _is_of_rolling_batch(self) -> bool:
        """Whether LMI runs its own rolling batch, which gives input formatters the raw request: parse_input_with_formatter in
        input_parser.py of djl-serving d21927c (2026-06-24)."""
        service = self._code.entry.service
        named = self._options.get("rolling_batch") in ("vllm", "lmi-dist")
        return service == "djl_python.huggingface" or (service is None and named)

    @property
    def formats_output(self) -> bool:
        """Whether there is an output formatter."""
        return self._code.output_formatter is not None

    async def payload(self, payload: Mapping[str, Any], call: Call) -> dict[str, Any]:
        """The payload to serve in place of `payload`, the parsed body of `call`. Raises RequestError, UserCodeFailed and
        PredictTimeout."""
        formatter = self._code.input_formatter
        if formatter is None:
            return dict(payload)
        step = partial(self._format_input, formatter, dict(payload), call)
        formatted: dict[str, Any] = await self._run(step, call.id)
        # LMI reads the adapter before it calls the formatter, whose payload may lack it.
        adapter = {adapter_choice.FIELD: payload[adapter_choice.FIELD]} if adapter_choice.FIELD in payload else {}
        return {**adapter, **formatted}

    async def format_response(self, text: bytes, request_id: str) -> bytes:
        """What the client gets in place of `text`, a complete response in JSON."""
        formatter = self._code.output_formatter
        if formatter is None:
            return text
        formatted: bytes = await self._run(lambda: _format_output(formatter, parse_response(text)), request_id)
        return formatted.removesuffix(b"\n")

    async def stream(self, chunks: AsyncGenerator[bytes, None], request_id: str) -> AsyncGenerator[bytes, None]:
        """What the client gets in place of `chunks`, which are closed with this generator. The output formatter takes
        vLLM's text of each: an event, and [DONE] at the end."""
        formatter = self._code.output_formatter
        async with aclosing(chunks if formatter is None else _events(chunks)) as events:
            async for event in events:
                if formatter is None:
                    yield event
                elif chunk := await self._run(partial(_format_output, formatter, event.decode()), request_id):
                    yield chunk

    async def _run(self, step: Callable[[], Any], request_id: str) -> Any:
        try:
            return await self._thread.run(step)
        except CodeFailure as failure:
            raise translate_failure(failure, self._code.entry.file.name, request_id) from failure

    def _format_input(self, formatter: Function, payload: dict[str, Any], call: Call) -> dict[str, Any]:
        argument = request_input(call, self._options) if self.reads_raw_request else payload
        made = call_with_options(formatter, argument, options=self._options, tokenizer=self._tokenizer)
        if isinstance(made, RequestInput):
            made = {"inputs": getattr(made, "input_text", ""), "parameters": made.parameters}
        if not isinstance(made, dict):
            raise TypeError(f"{formatter.__name__} returned {type(made).__name__}; it must return the payload, a dict")
        return made


async def _events(chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(chunks):
        async for chunk in chunks:
            yield b"data: " + chunk + b"\n\n"
    yield b"data: [DONE]\n\n"


def _format_output(formatter: Function, response: Any) -> bytes:
    made = formatter(response)
    if made is None:
        if isinstance(response, str):
            return b""
        raise TypeError(f"{formatter.__name__} returned None; it must return the response: text, a dict or a model")
    if isinstance(made, bytes | bytearray):
        encoded = bytes(made)
    elif isinstance(made, str):
        encoded = made.encode()
    elif hasattr(made, "model_dump_json"):
        encoded = made.model_dump_json().encode()
    else:
        encoded = json.dumps(made, ensure_ascii=False, allow_nan=False, default=to_json_type).encode()
    # As in LMI: clients that read lines get each chunk at once.
    return encoded if encoded.endswith(b"\n") or not encoded else encoded + b"\n"
