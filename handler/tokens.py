"""Tokens of a prompt, and the text of tokens: vLLM's schema of /tokenize and /detokenize."""

import json
from collections.abc import Mapping
from typing import Any

from handler.chat import Chat
from handler.completion import Completions
from handler.engine import Prompt, TextPrompt
from handler.errors import InvalidRequest
from handler.model import Model
from handler.payload.fields import expect

MOST_TOKENS = 1_000_000


class Tokens:
    """Counts for one model, exactly as its engine would see a prompt, pictures and chat template included."""

    def __init__(self, model: Model, chat: Chat, completions: Completions) -> None:
        self._model = model
        self._chat = chat
        self._completions = completions

    async def tokenize(self, payload: Mapping[str, Any], request_id: str) -> bytes:
        """`{"count", "max_model_len", "tokens"}` for the `messages` or the `prompt` of `payload`. Raises RequestError."""
        if "messages" in payload:
            chat = await self._chat.prompt(self._chat.read(payload), request_id)
            return await self._told(chat)
        if "prompt" not in payload:
            raise InvalidRequest("`prompt` is missing; send `prompt` or `messages`.", param="prompt")
        return await self._told(await self._completions.prompt(self._completions.read(payload), request_id))

    async def detokenize(self, payload: Mapping[str, Any]) -> bytes:
        """`{"prompt"}` for the `tokens` of `payload`. Raises RequestError."""
        tokens = expect(payload, "tokens", list, "", "a list of token ids")
        if len(tokens) > MOST_TOKENS:
            raise InvalidRequest(f"`tokens` has {len(tokens)} ids; at most {MOST_TOKENS} are taken.", param="tokens")
        for place, token in enumerate(tokens):
            if type(token) is not int or token < 0:
                raise InvalidRequest(f"`tokens[{place}]` is not the id of a token.", param=f"tokens[{place}]")
        return json.dumps({"prompt": await self._model.engine.detokenize(tokens)}).encode()

    async def _told(self, prompt: Prompt | TextPrompt) -> bytes:
        try:
            tokens = await self._model.engine.tokenize(prompt)
        finally:
            prompt.release_pictures()
        told = {"count": len(tokens), "max_model_len": self._model.card.max_model_len, "tokens": list(tokens)}
        return json.dumps(told).encode()
