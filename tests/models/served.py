"""A checkpoint -> what Lumi answers to each chat: options, start, payload and response are a server's own.

Processes of the engine are forked from one server for all checkpoints, so that vLLM is imported once.
"""

import asyncio
import atexit
import contextlib
import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from container.entrypoint import choose_engine
from container.nodes.rendezvous import SingleNode
from container.options import resolve
from container.start.machine import check_machine
from container.start.model import locate_model
from container.start.startup import Startup
from handler.engines import vllm
from handler.engines.vllm.forking import fork_server
from handler.engines.vllm.launch import ENVIRONMENT
from handler.errors import RequestError
from handler.images import RequestContext
from handler.service import Service
from tests.models.answer import Answer, Answers
from tests.models.chats import CHATS, TOKENS, Message

ENVIRON = {
    "OPTION_DTYPE": "fp32",
    "OPTION_ENFORCE_EAGER": "true",  # compiling a model takes longer than all its answers
    "OPTION_MAX_MODEL_LEN": "4096",
    "OPTION_KV_CACHE_MEMORY_BYTES": str(2**28),
    "OPTION_LIMIT_MM_PER_PROMPT": '{"image": 2}',
}
ASKED = {
    "temperature": 0,
    "max_tokens": TOKENS,
    "logprobs": True,
    "top_logprobs": 5,
    "return_token_ids": True,
    "return_tokens_as_token_ids": True,
}

_forks = contextlib.ExitStack()


def preload() -> None:
    """Begin to import vLLM in the server that this process forks engines from. To be called once, in the main thread."""
    for name, value in {**ENVIRONMENT, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}.items():
        os.environ.setdefault(name, value)
    _forks.enter_context(fork_server(os.environ))
    atexit.register(_forks.close)


def served_answers(directory: Path, chats: Sequence[str], environ: Mapping[str, str]) -> Answers:
    """The answers of a server with these options in its environment. Raises StartError."""
    return asyncio.run(_answers(chats, {**ENVIRON, **environ, "HF_MODEL_ID": str(directory)}))


async def _answers(chats: Sequence[str], environ: Mapping[str, str]) -> Answers:
    async with _serve(environ) as service:
        answers = await asyncio.gather(*(_answer(service, name, CHATS[name]) for name in chats))
    return dict(zip(chats, answers, strict=True))


@contextlib.asynccontextmanager
async def _serve(environ: Mapping[str, str]) -> AsyncIterator[Service]:
    options = resolve(environ, engine_fields=vllm.field_names).options
    checked = check_machine(options, locate_model(options), cuda=vllm.cuda())
    factory = choose_engine(options, checked.located, None)
    startup = Startup(options, checked, factory, nodes=SingleNode(), follows=False, report=lambda _: None)
    try:
        ready = await startup.run()
        assert isinstance(ready.service, Service)
        yield ready.service
    finally:
        await startup.stop()


async def _answer(service: Service, name: str, chat: list[Message]) -> Answer:
    try:
        response = await service.complete(
            service.parse({"messages": chat, **ASKED}), RequestContext(name.replace(" ", "-"))
        )
    except RequestError as fault:
        return Answer(fault=f"{type(fault).__name__}: {fault}")
    body = json.loads(response)
    choice = body["choices"][0]
    logprobs = [_top(token) for token in choice["logprobs"]["content"]]
    return Answer(body["prompt_token_ids"], choice["token_ids"], logprobs)


def _top(token: Mapping[str, Any]) -> dict[int, float]:
    """The log probabilities by token id, for which `return_tokens_as_token_ids` puts the ids in place of the tokens."""
    return {int(one["token"].removeprefix("token_id:")): one["logprob"] for one in token["top_logprobs"]}
