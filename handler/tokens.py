"""/tokenize and /detokenize, in vLLM's schemas: the tokens that the engine would see, images and chat template included."""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

from handler.chat import Chat
from handler.completion import Completions
from handler.engine import Engine, Prompt
from handler.errors import InvalidRequest
from handler.images import RequestContext
from handler.payload.fields import expect, optional
from handler.payload.requests import ChatRequest, CompletionRequest

MAX_TOKENS = 500_000
STRINGS = "return_token_strs"
MAX_TOKEN_ID = 2**31 - 1


class Tokens:
    """The tokenizer of one engine, for prompts of chats and of completions."""

    def __init__(self, engine: Engine, chat: Chat, completions: Completions) -> None:
        self._engine = engine
        self._chat = chat
        self._completions = completions

    def parse(self, payload: Mapping[str, Any], adapter: str | None = None) -> ChatRequest | CompletionRequest:
        """The request with `messages` or `prompt` in `payload`, for the `adapter` that its header names. Raises
        RequestError."""
        payload = {name: value for name, value in payload.items() if name != STRINGS}
        if payload.get("messages") is not None:
            return self._chat.parse(payload, adapter)
        if "prompt" not in payload:
            raise InvalidRequest("`prompt` is missing; send `prompt` or `messages`.", param="prompt")
        return self._completions.parse(payload, adapter)

    async def tokenize(
        self, request: ChatRequest | CompletionRequest, context: RequestContext, *, strings: bool = False
    ) -> bytes:
        """`{"count", "max_model_len", "tokens", "token_strs"}` as JSON text: the last is null unless `strings`. Raises
        RequestError."""
        if "tools" in request.parameters:
            # The template prints them, as for vLLM's own route; only a call that is to be generated needs a parser.
            request = replace(request, parameters={**request.parameters, "tool_choice": "none"})
        tokens: list[int] = []
        for opening in self._openings(request, context):
            async with opening as prompt:
                for one in await self._engine.render(prompt):
                    tokens += one.tokens
        return await asyncio.to_thread(self._count, tokens, strings=strings)

    def _count(self, tokens: list[int], *, strings: bool) -> bytes:
        texts = self._engine.tokenizer.convert_ids_to_tokens(tokens) if strings else None
        length = self._engine.card.max_model_len
        return json.dumps(
            {"count": len(tokens), "max_model_len": length, "tokens": tokens, "token_strs": texts}
        ).encode()

    def prompt(
        self, request: ChatRequest | CompletionRequest, context: RequestContext
    ) -> AbstractAsyncContextManager[Prompt]:
        """The prompt for the engine, with images that are loaded for as long as the block lasts."""
        if isinstance(request, ChatRequest):
            return self._chat.prompt(request, context)
        return self._completions.prompt(request, context)

    async def detokenize(self, ids: Sequence[int]) -> bytes:
        """`{"prompt"}` as JSON text. Raises RequestError."""
        text = {"prompt": await self._engine.detokenize(ids)}
        return (await asyncio.to_thread(json.dumps, text)).encode()

    def _openings(
        self, request: ChatRequest | CompletionRequest, context: RequestContext
    ) -> Iterable[AbstractAsyncContextManager[Prompt]]:
        if isinstance(request, ChatRequest):
            return [self._chat.prompt(request, context)]
        return self._completions.slices(request, context)

    @staticmethod
    def wants_strings(payload: Mapping[str, Any]) -> bool:
        """Whether `payload` asks for the strings of its tokens. Raises InvalidRequest."""
        return optional(payload, STRINGS, bool, "", "true or false") or False

    @staticmethod
    def token_ids(payload: Mapping[str, Any]) -> list[int]:
        """The `tokens` of `payload`. Raises InvalidRequest."""
        tokens: list[int] = expect(payload, "tokens", list, "", "a list of token ids")
        if len(tokens) > MAX_TOKENS:
            raise InvalidRequest(f"`tokens` has {len(tokens)} ids; the maximum is {MAX_TOKENS}.", param="tokens")
        for i, token in enumerate(tokens):
            if type(token) is not int or not 0 <= token <= MAX_TOKEN_ID:
                raise InvalidRequest(f"`tokens[{i}]` is not a token id.", param=f"tokens[{i}]")
        return tokens
