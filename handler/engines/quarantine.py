"""The prompts that an engine has died of, by a digest of their content: they are not computed again."""

import asyncio
import dataclasses
import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from handler.engine import ChatPrompt, Prompt, PromptImage
from handler.errors import RequestQuarantined

MAX_PROMPTS = 1000  # the oldest are forgotten


class Quarantine:
    """The prompts that are refused until the process ends."""

    def __init__(self) -> None:
        self._digests: OrderedDict[str, None] = OrderedDict()

    async def add(self, prompt: Prompt) -> None:
        """Refuse `prompt` from now on."""
        self._digests[await asyncio.to_thread(content_digest, prompt)] = None
        if len(self._digests) > MAX_PROMPTS:
            self._digests.popitem(last=False)

    async def check(self, prompt: Prompt) -> None:
        """Raises RequestQuarantined."""
        if self._digests and await asyncio.to_thread(content_digest, prompt) in self._digests:
            raise quarantined()


def quarantined() -> RequestQuarantined:
    """The error for a prompt that the engine has died of."""
    return RequestQuarantined(
        "The engine has died twice of this request, the second time while it computed nothing else; it is refused until "
        "the server restarts. Change its images, its text or its parameters."
    )


def content_digest(prompt: Prompt) -> str:
    """A digest of what the engine computes: texts, images, parameters, the model or adapter."""
    content = prompt.messages if isinstance(prompt, ChatPrompt) else prompt.texts
    text = json.dumps([prompt.model, prompt.parameters, content], default=_plain, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, PromptImage):
        return value.digest
    if isinstance(value, Mapping):
        return dict(value)
    if dataclasses.is_dataclass(value):
        return [getattr(value, field.name) for field in dataclasses.fields(value)]
    return list(value)
