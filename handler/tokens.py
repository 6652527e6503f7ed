"""Tokens of a prompt, and the text of tokens: vLLM's schema of /tokenize and /detokenize."""

import json
from collections.abc import Mapping
from typing import Any

from handler.chat import Chat
from handler.completion import Completions
from handler.engine import Prompt, TextPrompt
from handler.errors import InvalidRequest
from handler.model import Model
from handler.payload.chat import ChatRequest
from handler.payload.completion import CompletionRequest
from handler.payload.fields import expect
from handler.sessions import Session

MOST_TOKENS = 1_000_000
MOST_TOKEN_ID = 2**31 - 1


class Tokens:
    """Counts for one model, exactly as its engine would see a prompt, images and chat template included."""

    def __init__(self, model: Model, chat: Chat, completions: Completions) -> None:
        self._model = model
        self._chat = chat
        self._completions = completions

    def read(self, payload: Mapping[str, Any], adapter: str | None = None) -> ChatRequest | CompletionRequest:
        """What is asked about: the `messages` or the `prompt` of `payload`, for the `adapter` that its header names.
        Raises RequestError."""
        if payload.get("return_token_strs") is True:
            raise InvalidRequest("Tokens are told by number; POST /detokenize for texts.", param="return_token_strs")
        payload = {name: value for name, value in payload.items() if name != "return_token_strs"}
        if payload.get("messages") is not None:
            return self._chat.read(payload, adapter)
        if "prompt" not in payload:
            raise InvalidRequest("`prompt` is missing; send `prompt` or `messages`.", param="prompt")
        return self._completions.read(payload, adapter)

    async def tokenize(
        self, asked: ChatRequest | CompletionRequest, request_id: str, session: Session | None = None
    ) -> bytes:
        """`{"count", "max_model_len", "tokens"}`. Raises RequestError."""
        if isinstance(asked, ChatRequest):
            return await self._told(await self._chat.prompt(asked, request_id, session))
        return await self._told(await self._completions.prompt(asked, request_id, session))

    async def detokenize(self, payload: Mapping[str, Any]) -> bytes:
        """`{"prompt"}` for the `tokens` of `payload`. Raises RequestError."""
        tokens = expect(payload, "tokens", list, "", "a list of token ids")
        if len(tokens) > MOST_TOKENS:
            raise InvalidRequest(f"`tokens` has {len(tokens)} ids; at most {MOST_TOKENS} are taken.", param="tokens")
        for place, token in enumerate(tokens):
            if type(token) is not int or not 0 <= token <= MOST_TOKEN_ID:
                raise InvalidRequest(f"`tokens[{place}]` is not the id of a token.", param=f"tokens[{place}]")
        return json.dumps({"prompt": await self._model.engine.detokenize(tokens)}).encode()

    async def _told(self, prompt: Prompt | TextPrompt) -> bytes:
        try:
            tokens = await self._model.engine.tokenize(prompt)
        finally:
            prompt.release_images()
        told = {"count": len(tokens), "max_model_len": self._model.card.max_model_len, "tokens": list(tokens)}
        return json.dumps(told).encode()
