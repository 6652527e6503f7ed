"""A vLLM engine that is loaded: prompts in, deltas out."""

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.exceptions import RetryableRequestError
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from handler.engine import Adapter, ChatPrompt, Delta, ImageEmbeds, ModelCard, Prompt, RenderedPrompt, TextPrompt
from handler.engines.placeholders import PlaceholderEscaper
from handler.engines.processes import kill_processes
from handler.engines.vllm.adapters.served import VllmAdapters
from handler.engines.vllm.failures import translate, translate_response
from handler.engines.vllm.grammars.trials import GrammarTrials
from handler.engines.vllm.parameter_sizes import check_sizes
from handler.engines.vllm.parameters import check_parameters
from handler.engines.vllm.placeholders import Placeholder
from handler.engines.vllm.rendered import rendered_prompt, sampling_of
from handler.engines.vllm.requests import ChatRequest, TextRequest, chat_request, text_request
from handler.engines.vllm.serving import Serving
from handler.engines.vllm.steps import Steps
from handler.errors import OF_REQUEST, EngineFailure, InvalidRequest, LumiError, UnknownAdapter

log = logging.getLogger("lumi.engine")

STATS_SECONDS = 10  # vLLM's own server logs its throughput at this interval
STOP_SECONDS = 10
# From here on a thread costs less than the time that the event loop would stand still.
MANY_PARTS = 200
LONG_TEXT = 2**16
_BEAM = re.compile(r"-[0-9a-f]{16}-beam-\d+$")


class VllmEngine:
    """An `Engine`: vLLM's serving over a live AsyncLLM, with our errors in place of its own. `stats` logs its throughput
    until it stops. `shared` is the shared memory of its processes."""

    def __init__(
        self,
        llm: AsyncLLM,
        serving: Serving,
        adapters: VllmAdapters,
        card: ModelCard,
        *,
        escaper: PlaceholderEscaper,
        placeholder: Placeholder,
        steps: Steps,
        grammars: GrammarTrials,
        shared: Collection[Path],
        stats: asyncio.Task[None],
    ) -> None:
        self.card = card
        self._adapters = adapters
        self._llm = llm
        self._serving = serving
        self._escaper = escaper
        self._placeholder = placeholder
        self._steps = steps
        self._grammars = grammars
        self._shared = shared
        self._embeds_width = llm.model_config.get_inputs_embeds_size()
        self.tokenizer = llm.renderer.tokenizer
        self._cache = llm.renderer.mm_processor_cache
        self._tasks = {stats}

    def holds(self, digest: str) -> bool:
        return self._cache is not None and self._cache.is_cached_item(digest)

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        with self._with_adapter(prompt) as adapted:
            if not prompt.stream:
                first, rest = None, await self._with_retry(partial(self._ask, adapted))
            else:
                first, rest = await self._with_retry(partial(self._open, adapted))
            finished = not prompt.stream
            try:
                async with contextlib.aclosing(rest):
                    if first is not None:
                        yield first
                    async for delta in rest:
                        yield delta
                finished = True
            except Exception as fault:
                raise _reported(fault) from fault
            finally:
                if not finished:
                    self._abort(prompt)

    async def render(self, prompt: Prompt) -> Sequence[RenderedPrompt]:
        return cast("Sequence[RenderedPrompt]", await self._with_retry(partial(self._render, prompt)))

    def sampling(self, prompt: Prompt) -> Mapping[str, Any]:
        try:
            request = self._chat_request(prompt) if isinstance(prompt, ChatPrompt) else self._text_request(prompt)
            return sampling_of(request, self._serving.chat.default_sampling_params)
        except Exception as fault:
            raise _reported(fault) from fault

    async def detokenize(self, tokens: Sequence[int]) -> str:
        tokenizer = self._llm.renderer.get_tokenizer()
        size = len(tokenizer)
        if (highest := max(tokens, default=0)) >= size:
            raise InvalidRequest(f"The model has no token {highest}; it has {size}.", param="tokens")
        return str(await asyncio.to_thread(tokenizer.decode, list(tokens)))

    @property
    def adapters(self) -> Mapping[str, Adapter]:
        return self._adapters.served

    async def load_adapter(self, adapter: Adapter) -> None:
        await self._adapters.load(adapter)

    async def unload_adapter(self, name: str) -> None:
        self._adapters.unload(name)

    async def check(self) -> None:
        if self._llm.errored:
            raise translate(self._llm.dead_error)

    def steps(self) -> Mapping[int, int]:
        return self._steps.of_busy_replicas(self._llm)

    def in_flight(self) -> Mapping[str, bool]:
        begun: dict[str, bool] = {}
        for state in self._llm.output_processor.request_states.values():
            name = _prompt_id(state.external_req_id)
            begun[name] = begun.get(name, True) and not state.is_prefilling
        return begun

    async def kill(self) -> None:
        await asyncio.to_thread(self._kill_processes)
        # vLLM would notice it within a second.
        self._llm.engine_core.resources.engine_dead = True
        self._llm.output_processor.propagate_error(EngineDeadError())
        for call in self._llm.engine_core.utility_results.values():  # of adapters; nothing else would answer them
            if not call.done():
                call.set_exception(EngineDeadError())

    def _kill_processes(self) -> None:
        kill_processes()
        for file in self._shared:
            file.unlink(missing_ok=True)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._llm.output_handler is not None:
            # It would take the end of the engine core for a failure and log it with its traceback.
            self._llm.output_handler.cancel()
        self._grammars.close()
        await asyncio.to_thread(self._llm.shutdown, STOP_SECONDS)

    async def _open(self, prompt: Prompt) -> tuple[Delta | None, AsyncGenerator[Delta, None]]:
        """The first delta of a stream, before which vLLM may still reject the request, and the rest."""
        stream = await self._ask(prompt)
        try:
            return await anext(stream, None), stream
        except BaseException:
            self._abort(prompt)
            raise

    @contextlib.contextmanager
    def _with_adapter(self, prompt: Prompt) -> Iterator[Prompt]:
        """The prompt as vLLM takes it, which names an adapter by a key. Raises UnknownAdapter for one that was removed since
        the request was admitted."""
        if prompt.model is None or prompt.model in self.card.names:
            yield prompt
            return
        if prompt.model not in self.adapters:
            raise UnknownAdapter(f"The adapter {prompt.model!r} is not served any more.", param="model")
        with self._adapters.acquire(prompt.model) as model:
            yield replace(prompt, model=model)

    async def _ask(self, prompt: Prompt) -> Any:
        if isinstance(prompt, ChatPrompt):
            request = await _beside_loop(prompt, partial(self._chat_request, prompt))
            return _unwrap(await self._serving.chat.create_chat_completion(request))
        request = await _beside_loop(prompt, partial(self._text_request, prompt))
        return _unwrap(await self._serving.texts.create_completion(request))

    async def _render(self, prompt: Prompt) -> list[RenderedPrompt]:
        # The engine will not receive these images: they must not enter the cache of what it has.
        renderer = self._serving.chat.online_renderer
        if isinstance(prompt, ChatPrompt):
            request = await _beside_loop(prompt, partial(self._chat_request, prompt))
            _, inputs = _unwrap(await renderer.render_chat(request, skip_mm_cache=True))
        else:
            request = await _beside_loop(prompt, partial(self._text_request, prompt))
            inputs = _unwrap(await renderer.render_completion(request, skip_mm_cache=True))
        return list(map(rendered_prompt, inputs))

    def _chat_request(self, prompt: ChatPrompt) -> ChatRequest:
        self._check(prompt)
        return chat_request(prompt, self._escaper, self._embeds_width)

    def _text_request(self, prompt: TextPrompt) -> TextRequest:
        self._check(prompt)
        return text_request(prompt, self._escaper, self._placeholder)

    def _check(self, prompt: Prompt) -> None:
        """Before vLLM's own checks, which cost more. Raises InvalidRequest."""
        check_sizes(prompt.parameters)
        check_parameters(prompt.parameters)
        self._grammars.limits.check(prompt.parameters)

    async def _with_retry(self, attempt: Callable[[], Any]) -> Any:
        try:
            try:
                return await attempt()
            except RetryableRequestError:
                # The caches of processed images have drifted apart; vLLM has repaired them by now (deltas.py). The client
                # need not know of it.
                return await attempt()
        except Exception as fault:
            raise _reported(fault) from fault

    def _abort(self, prompt: Prompt) -> None:
        name = prompt.request_id
        ids = (
            [f"chatcmpl-{name}"]
            if isinstance(prompt, ChatPrompt)
            else [f"cmpl-{name}-{i}" for i in range(len(prompt.texts))]
        )
        # In a task of its own: a task that closes a stream may itself be cancelled at every await.
        task = asyncio.create_task(self._llm.abort(ids))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def log_stats(llm: AsyncLLM) -> None:
    """Log the throughput of `llm`, as vLLM's own server does, until this is cancelled."""
    while True:
        await asyncio.sleep(STATS_SECONDS)
        await llm.do_log_stats()


async def _beside_loop(prompt: Prompt, make: Callable[[], Any]) -> Any:
    """What `make` returns, which takes long where the prompt is."""
    parts = prompt.messages if isinstance(prompt, ChatPrompt) else prompt.texts
    contents = ((one.content,) if isinstance(one.content, str) else one.content or () for one in parts)
    found = [part for content in contents for part in content]
    texts = [part for part in found if isinstance(part, str)]
    is_small = len(parts) + len(texts) < MANY_PARTS and sum(map(len, texts)) < LONG_TEXT
    is_small = is_small and not any(isinstance(part, ImageEmbeds) for part in found)
    return make() if is_small else await asyncio.to_thread(make)


def _prompt_id(request_id: str) -> str:
    """The id of the prompt that vLLM calls `request_id`; see `_abort`."""
    whole = _BEAM.sub("", request_id)
    name = whole.removeprefix("chatcmpl-")
    if name != whole:
        return name
    name = whole.removeprefix("cmpl-")
    return name if whole != request_id else name.rpartition("-")[0]


def _unwrap(response: Any) -> Any:
    """`response`, unless it is an error, which is raised."""
    if not isinstance(response, ErrorResponse):
        return response
    # vLLM turns a cancellation into an error "Client disconnected", and the task would go on.
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
    raise translate_response(response.error.message, response.error.code, response.error.param)


def _reported(fault: Exception) -> LumiError:
    """Our error for `fault`, which is logged if it is the engine's."""
    error = translate(fault)
    if isinstance(error, EngineFailure):
        log.error("vLLM failed on a request", exc_info=fault, extra=OF_REQUEST)
    return error
