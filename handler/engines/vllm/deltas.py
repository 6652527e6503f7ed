"""What the engine generates of a text completion, typed, in place of the JSON that vLLM's server makes of it."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any

from vllm.entrypoints.openai.completion.serving import OpenAIServingCompletion
from vllm.outputs import CompletionOutput, RequestOutput

from handler.engine import Delta, Token

LEAST_LOGPROB = -9999.0  # JSON has no infinity; the number that vLLM's own server writes for it


class DeltaServing(OpenAIServingCompletion):  # type: ignore[misc]  # vllm is untyped here
    """vLLM's serving of text completions up to where it would write JSON: it returns a list of Delta, or streams
    such lists. Its errors are raised."""

    async def completion_stream_generator(
        self, _request: Any, _inputs: Any, outputs: AsyncIterator[tuple[int, RequestOutput]], *_: Any, **__: Any
    ) -> AsyncGenerator[list[Delta], None]:
        first = True
        async for _number, output in outputs:
            yield list(self._deltas(output, first=first))
            first = False

    def request_output_to_completion_response(self, outputs: list[RequestOutput], *_: Any, **__: Any) -> list[Delta]:
        return [delta for output in outputs for delta in self._deltas(output, first=True)]

    def _deltas(self, output: RequestOutput, *, first: bool) -> Iterator[Delta]:
        for grown in output.outputs:
            self._raise_if_error(grown.finish_reason, output.request_id)
        return deltas(output, self.renderer.get_tokenizer().decode, first=first)


def deltas(output: RequestOutput, decode: Callable[[int], str], *, first: bool) -> Iterator[Delta]:
    """What each answer of one output has grown by; `first` when nothing came of the request before."""
    prompt = tuple(_prompt_tokens(output, decode)) if first else ()
    for grown in output.outputs:
        yield Delta(
            text=grown.text,
            tokens=tuple(_tokens(grown, decode)),
            index=grown.index,
            finish_reason=grown.finish_reason,
            stop_reason=grown.stop_reason,
            prompt=prompt,
        )


def _tokens(grown: CompletionOutput, decode: Callable[[int], str]) -> Iterator[Token]:
    for place, token in enumerate(grown.token_ids):
        if grown.logprobs is None:
            yield Token(token, decode(token))
        else:
            yield _weighed(token, grown.logprobs[place], decode)


def _prompt_tokens(output: RequestOutput, decode: Callable[[int], str]) -> Iterator[Token]:
    weights: Sequence[Mapping[int, Any] | None] = output.prompt_logprobs or ()
    for place, token in enumerate(output.prompt_token_ids or ()):
        weighed = weights[place] if place < len(weights) else None
        yield _weighed(token, weighed, decode) if weighed else Token(token, decode(token))


def _weighed(token: int, weights: Mapping[int, Any], decode: Callable[[int], str]) -> Token:
    ranked = sorted(weights.items(), key=lambda item: item[1].rank or 0)
    likeliest = tuple(_token(id_, weight, decode) for id_, weight in ranked)
    chosen = _token(token, weights[token], decode)
    return Token(chosen.id, chosen.text, chosen.logprob, likeliest)


def _token(token: int, weight: Any, decode: Callable[[int], str]) -> Token:
    text = weight.decoded_token if weight.decoded_token is not None else decode(token)
    return Token(token, text, max(weight.logprob, LEAST_LOGPROB))
