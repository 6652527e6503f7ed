"""The user's code of the model and of its adapters -> the formatters of a request: those of its adapter, or the model's.

So LMI's AdapterFormatterMixin chooses in djl-serving d21927c4 (2026-06-24), and both of its formatter guides say so.
"""

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handler.djl import user_module
from handler.djl.code_handler import CodeHandler
from handler.djl.entry_point import FILE_NAME, EntryPoint
from handler.djl.failures import CodeFailure, raise_start_error
from handler.djl.formatters import Formatters
from handler.djl.user_thread import UserThread
from handler.errors import InvalidRequest, StartError
from handler.payload import adapter_choice

log = logging.getLogger("lumi.user_code")

_numbers = itertools.count(1)  # of modules in this process


@dataclass(frozen=True, slots=True)
class FormatterPair:
    """What formats a request, and what formats its response; None where nothing does."""

    input: Formatters | None = None
    output: Formatters | None = None


class FormatterRegistry:
    """The formatters of the model's code (`model`), and those of each adapter that has a model.py.

    The code of adapters runs in `thread`. `properties` are the options that it reads. `trusts_remote` is whether code may
    come from an address that a request names.
    """

    def __init__(
        self,
        model: Formatters | None,
        thread: UserThread,
        *,
        properties: Callable[[EntryPoint], Mapping[str, str]],
        tokenizer: Any = None,
        trusts_remote: bool = False,
    ) -> None:
        self._model = model
        self._thread = thread
        self._properties = properties
        self._tokenizer = tokenizer
        self._trusts_remote = trusts_remote
        self._adapters: dict[str, Formatters] = {}

    @property
    def handler(self) -> CodeHandler | None:
        """The handler of the model's code."""
        return None if self._model is None else self._model.handler

    @property
    def has_guards(self) -> bool:
        """Whether there is code that is to see every request, or every one of an adapter."""
        return bool(self._adapters) or (self._model is not None and self._model.sees_body)

    def choose(self, payload: Mapping[str, Any], header: str | None) -> FormatterPair:
        """The formatters for the adapter that a request names. Raises InvalidRequest if it names several that differ."""
        found = {self._adapters.get(name or "") for name in adapter_choice.names(payload, header)} or {None}
        if len(found) > 1:
            raise InvalidRequest(
                f"`{adapter_choice.FIELD}` names adapters whose model.py files differ. Send one request for each.",
                param=adapter_choice.FIELD,
            )
        (own,) = found
        codes = [code for code in (own, self._model) if code is not None]
        return FormatterPair(
            input=next((code for code in codes if code.formats_input), None),
            output=next((code for code in codes if code.formats_output), None),
        )

    @asynccontextmanager
    async def load(self, name: str, directory: Path, *, is_remote: bool) -> AsyncIterator[None]:
        """Execute the model.py of an adapter in `directory`, if there is one. It serves the adapter `name` from the end of
        the block, unless the block fails. Raises InvalidRequest."""
        code = await self._execute(name, directory, is_remote=is_remote)
        try:
            yield
        except BaseException:
            if code is not None:
                user_module.unload(code.entry)
            raise
        self.remove(name)
        if code is not None:
            self._adapters[name] = code

    def remove(self, name: str) -> None:
        """Forget the code of an adapter; running requests finish with it."""
        if (code := self._adapters.pop(name, None)) is not None:
            user_module.unload(code.entry)

    def close(self) -> None:
        """Remove the modules of adapters, so that another start in this process executes their files again."""
        for name in list(self._adapters):
            self.remove(name)

    async def _execute(self, name: str, directory: Path, *, is_remote: bool) -> Formatters | None:
        file = directory / FILE_NAME
        if not await asyncio.to_thread(file.is_file):
            return None
        if is_remote and not self._trusts_remote:
            raise InvalidRequest(
                f"The adapter has a {FILE_NAME}, which would run with all permissions of the server. Start with "
                "OPTION_TRUST_REMOTE_CODE=true to allow code from the sources of requests, or remove the file.",
                param="src",
                code="adapter_forbidden",
            )
        entry = EntryPoint(file, f"lumi_adapter_{next(_numbers)}", directory, is_alone=True)
        try:
            code = await self._thread.run(lambda: user_module.load_formatters(entry))
        except CodeFailure as failure:
            raise _invalid(entry, failure) from failure
        log.info("executed %s for the adapter %s", code, name)
        return Formatters(code, self._thread, properties=self._properties(entry), tokenizer=self._tokenizer)


def _invalid(entry: EntryPoint, failure: CodeFailure) -> InvalidRequest:
    try:
        raise_start_error(entry, "could not be loaded", failure)
    except StartError as fault:
        return InvalidRequest(str(fault), param="src", code="adapter_invalid")
