"""The tokens of vLLM's outputs, with their texts and log probabilities -> ours."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from vllm.outputs import CompletionOutput, RequestOutput

from handler.engine import MIN_LOGPROB, Prompt, ReadPrompt, Token

Decode = Callable[[int], str]
TOKENS_AT_ONCE = 100


def read_prompt(output: RequestOutput, prompt: Prompt, decode: Decode) -> ReadPrompt:
    """The prompt of `output`, without the tokens of its media."""
    return ReadPrompt(
        length=len(output.prompt_token_ids or ()) + len(output.encoder_prompt_token_ids or ()),
        text=output.prompt,
        tokens=tuple(_prompt_tokens(output, prompt, decode)) if prompt.prompt_tokens else (),
        cached=output.num_cached_tokens,
    )


async def all_tokens(completion: CompletionOutput, prompt: Prompt, decode: Decode) -> tuple[Token, ...]:
    """The tokens of a whole `completion`, if they are asked for: with log probabilities they take long, and others have
    their turn meanwhile."""
    if not prompt.tokens or completion.logprobs is None:
        return completion_tokens(completion, prompt, decode)
    tokens: list[Token] = []
    for token, place in zip(completion.token_ids, completion.logprobs, strict=False):
        tokens.append(_token_with_likeliest(token, place, decode))
        if not len(tokens) % TOKENS_AT_ONCE:
            await asyncio.sleep(0)
    return tuple(tokens)


def completion_tokens(completion: CompletionOutput, prompt: Prompt, decode: Decode) -> tuple[Token, ...]:
    """The tokens of `completion`, if they are asked for."""
    if not prompt.tokens:
        return ()
    if completion.logprobs is not None:
        places = zip(completion.token_ids, completion.logprobs, strict=False)
        return tuple(_token_with_likeliest(token, place, decode) for token, place in places)
    if prompt.token_texts:
        return tuple(Token(token, decode(token)) for token in completion.token_ids)
    return tuple(map(Token, completion.token_ids))


def _prompt_tokens(output: RequestOutput, prompt: Prompt, decode: Decode) -> Iterator[Token]:
    ids: Sequence[int] = output.prompt_token_ids or ()
    if output.prompt_logprobs is not None:
        for token, place in zip(ids, output.prompt_logprobs, strict=False):
            yield _token_with_likeliest(token, place, decode)
    else:
        for token in ids:
            yield Token(token, decode(token)) if prompt.token_texts else Token(token)


def _token_with_likeliest(token: int, place: Mapping[int, Any] | None, decode: Decode) -> Token:
    """A token with the most likely tokens in its place, best first."""
    if place is None or token not in place:  # the first token of a prompt
        return Token(token, decode(token))
    ranked = sorted(place.items(), key=lambda item: item[1].rank or 0)
    likeliest = tuple(_token(id_, logprob, decode) for id_, logprob in ranked)
    return _token(token, place[token], decode)._replace(likeliest=likeliest)


def _token(token: int, logprob: Any, decode: Decode) -> Token:
    text = logprob.decoded_token if logprob.decoded_token is not None else decode(token)
    # Also for what is not a number, which is greater than nothing.
    value = max(MIN_LOGPROB, logprob.logprob)
    return Token(token, text, value, rank=logprob.rank)
