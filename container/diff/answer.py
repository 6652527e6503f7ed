"""A service and a payload -> what its engine reads, and what it answers greedily."""

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from container.diff.summary import Summary, summarize
from handler.engine import ChatPrompt, Engine, Prompt, Token
from handler.errors import InvalidRequest
from handler.images import RequestContext
from handler.service import Service

TOP = 5
MAX_TOKENS = 32  # where the request does not say
# Sampled answers differ by chance: both engines answer greedily, whatever the request says.
_GREEDY = {"temperature": 0, "n": 1}
_LENGTHS = ("max_tokens", "max_completion_tokens")


@dataclass(frozen=True, slots=True)
class Answer:
    """`engine` is its name. `text` is the prompt after the chat template, `prompt` and `tokens` the tokens of the prompt
    and of the answer, `tensors` the processed images by name, `sampling` the parameters that the request would have."""

    engine: str
    text: str
    prompt: tuple[Token, ...]
    tokens: tuple[Token, ...]
    tensors: Mapping[str, Summary] = field(default_factory=dict)
    sampling: Mapping[str, Any] = field(default_factory=dict)


async def answer(service: Service, engine: Engine, payload: Mapping[str, Any], *, name: str) -> Answer:
    """What `engine` makes of `payload`: a chat, or one raw prompt. Raises RequestError or ServerError."""
    request = service.tokens.parse(payload)
    async with service.tokens.prompt(request, RequestContext("diff")) as prompt:
        # Twice, as an engine frees the pixels of the images that it has read.
        rendered, sampling = await engine.render(prompt), engine.sampling(prompt)
    if len(rendered) > 1:
        raise InvalidRequest("The request has several prompts; send one.", param="prompt")
    async with (
        service.tokens.prompt(request, RequestContext("diff")) as prompt,
        aclosing(engine.generate(_greedy(prompt))) as deltas,
    ):
        (delta,) = [delta async for delta in deltas]
    read = delta.prompt
    return Answer(
        name,
        text="" if read is None or read.text is None else read.text,
        prompt=() if read is None else read.tokens,
        tokens=delta.tokens,
        tensors={name: summarize(tensors) for name, tensors in rendered[0].tensors.items()},
        sampling=sampling,
    )


def _greedy(prompt: Prompt) -> Prompt:
    length = {} if any(prompt.parameters.get(name) for name in _LENGTHS) else {"max_tokens": MAX_TOKENS}
    logprobs: Mapping[str, Any] = {"logprobs": TOP}
    if isinstance(prompt, ChatPrompt):
        logprobs = {"logprobs": True, "top_logprobs": TOP}
    parameters = {**prompt.parameters, **_GREEDY, **length, **logprobs}
    parameters.pop("stream_options", None)
    return replace(prompt, parameters=parameters, stream=False, prompt_tokens=True, token_texts=True)


def first_difference(one: Sequence[Any], other: Sequence[Any]) -> int | None:
    """The index of the first element that differs, or that only one of them has."""
    same = next((at for at, (mine, theirs) in enumerate(zip(one, other, strict=False)) if mine != theirs), None)
    if same is None and len(one) != len(other):
        return min(len(one), len(other))
    return same
