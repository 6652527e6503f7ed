"""An engine over transformers that is loaded: prompts in, deltas out."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, NoReturn

from handler.engine import Adapter, Delta, ModelCard, Prompt, RenderedPrompt
from handler.engines.transformers.completion import Request
from handler.engines.transformers.decoder import image_tensors
from handler.engines.transformers.parameters import Sampling, read_sampling
from handler.engines.transformers.prompts import Inputs, Prompts
from handler.engines.transformers.worker import Worker
from handler.errors import InvalidRequest, LumiError, UnknownAdapter
from handler.prompt_length import new_tokens

STOP_SECONDS = 10


class TransformersEngine:
    """An `Engine`. `defaults` are the model's own sampling parameters, `ends` its end-of-sequence tokens."""

    def __init__(
        self,
        card: ModelCard,
        tokenizer: Any,
        prompts: Prompts,
        worker: Worker,
        *,
        defaults: Mapping[str, Any],
        ends: frozenset[int],
    ) -> None:
        self.card = card
        self.tokenizer = tokenizer
        self.adapters: Mapping[str, Adapter] = {}
        self._prompts = prompts
        self._worker = worker
        self._defaults = defaults
        self._ends = ends
        # One thread: tokenizers cannot be used in two at once.
        self._renderer = ThreadPoolExecutor(1, "lumi-prompts")

    def holds(self, digest: str) -> bool:
        """It keeps no images."""
        del digest
        return False

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        sampling = read_sampling(prompt, self._defaults)
        inputs = await self._render(prompt)
        deltas: asyncio.Queue[Delta | LumiError] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def deliver(delta: Delta | LumiError) -> None:
            loop.call_soon_threadsafe(deltas.put_nowait, delta)

        requests = [self._request(prompt, number, one, sampling, deliver) for number, one in enumerate(inputs)]
        try:
            for request in requests:
                self._worker.submit(request)
            running = len(requests) * sampling.n
            while running:
                delta = await deltas.get()
                if isinstance(delta, LumiError):
                    raise delta
                running -= delta.finish_reason is not None
                yield delta
        finally:
            for request in requests:
                request.cancelled = True

    async def render(self, prompt: Prompt) -> Sequence[RenderedPrompt]:
        return [RenderedPrompt(one.ids, image_tensors(one)) for one in await self._render(prompt)]

    def sampling(self, prompt: Prompt) -> Mapping[str, Any]:
        return asdict(read_sampling(prompt, self._defaults))

    async def detokenize(self, tokens: Sequence[int]) -> str:
        if unknown := next((token for token in tokens if not 0 <= token < len(self.tokenizer)), None):
            raise InvalidRequest(f"The model has no token {unknown}; it has {len(self.tokenizer)}.", param="tokens")
        loop = asyncio.get_running_loop()
        return str(await loop.run_in_executor(self._renderer, self.tokenizer.decode, list(tokens)))

    async def load_adapter(self, adapter: Adapter) -> NoReturn:
        raise InvalidRequest(
            f"The adapter {adapter.name!r} cannot be served: {self.card.names[0]} is run by transformers, and adapters need "
            "vLLM."
        )

    async def unload_adapter(self, name: str) -> NoReturn:
        raise UnknownAdapter(f"The adapter {name!r} is not served.")

    async def check(self) -> None:
        self._worker.check()

    def steps(self) -> Mapping[int, int]:
        return {0: self._worker.steps} if self._worker.is_busy else {}

    def in_flight(self) -> Mapping[str, bool]:
        return self._worker.in_flight()

    async def kill(self) -> None:
        self._worker.fail()

    async def stop(self) -> None:
        self._renderer.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._worker.stop, STOP_SECONDS)

    async def _render(self, prompt: Prompt) -> list[Inputs]:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._renderer, self._prompts.render, prompt)
        finally:
            prompt.release_images()

    def _request(self, prompt: Prompt, number: int, inputs: Inputs, sampling: Sampling, deliver: Any) -> Request:
        rest = self.card.max_model_len - len(inputs.ids)
        if sampling.max_tokens is not None and sampling.max_tokens > rest:
            raise InvalidRequest(
                f"`max_tokens` is {sampling.max_tokens}, but the prompt has {len(inputs.ids)} tokens and the model's context "
                f"{self.card.max_model_len}: at most {rest} are left.",
                param="max_tokens",
            )
        if sampling.max_length is not None:
            rest = min(rest, new_tokens(sampling.max_length, len(inputs.ids)))
        return Request(
            prompt=prompt,
            number=number,
            inputs=inputs,
            sampling=sampling,
            max_tokens=sampling.max_tokens or rest,
            ends=frozenset() if sampling.ignore_eos else self._ends,
            deliver=deliver,
        )
