"""vLLM's output of a text completion -> typed deltas, in place of the JSON that its server makes of it."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any

from vllm.entrypoints.openai.completion.serving import OpenAIServingCompletion
from vllm.outputs import CompletionOutput, RequestOutput

from handler.engine import Delta, Token

MIN_LOGPROB = -9999.0  # JSON has no infinity; vLLM's own server writes this number for it


class DeltaServing(OpenAIServingCompletion):  # type: ignore[misc]  # vllm is untyped here
    """vLLM's serving of text completions without its JSON: it returns a list of Delta, or streams such lists. Errors
    are raised."""

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
        for completion in output.outputs:
            self._raise_if_error(completion.finish_reason, output.request_id)
        return deltas(output, self.renderer.get_tokenizer().decode, first=first)


def deltas(output: RequestOutput, decode: Callable[[int], str], *, first: bool) -> Iterator[Delta]:
    """A delta of each completion in `output`; `first` if it is the first output of its request."""
    prompt = tuple(_prompt_tokens(output, decode)) if first else ()
    for completion in output.outputs:
        yield Delta(
            text=completion.text,
            tokens=tuple(_tokens(completion, decode)),
            index=completion.index,
            finish_reason=completion.finish_reason,
            stop_reason=completion.stop_reason,
            prompt=prompt,
        )


def _tokens(completion: CompletionOutput, decode: Callable[[int], str]) -> Iterator[Token]:
    for i, token in enumerate(completion.token_ids):
        if completion.logprobs is None:
            yield Token(token, decode(token))
        else:
            yield _token_with_top(token, completion.logprobs[i], decode)


def _prompt_tokens(output: RequestOutput, decode: Callable[[int], str]) -> Iterator[Token]:
    all_logprobs: Sequence[Mapping[int, Any] | None] = output.prompt_logprobs or ()
    for i, token in enumerate(output.prompt_token_ids or ()):
        logprobs = all_logprobs[i] if i < len(all_logprobs) else None
        yield _token_with_top(token, logprobs, decode) if logprobs else Token(token, decode(token))


def _token_with_top(token: int, logprobs: Mapping[int, Any], decode: Callable[[int], str]) -> Token:
    """A token with the most likely tokens at its position, best first."""
    ranked = sorted(logprobs.items(), key=lambda item: item[1].rank or 0)
    top = tuple(_token(id_, logprob, decode) for id_, logprob in ranked)
    chosen = _token(token, logprobs[token], decode)
    return Token(chosen.id, chosen.text, chosen.logprob, top)


def _token(token: int, logprob: Any, decode: Callable[[int], str]) -> Token:
    text = logprob.decoded_token if logprob.decoded_token is not None else decode(token)
    return Token(token, text, max(logprob.logprob, MIN_LOGPROB))
