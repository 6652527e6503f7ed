"""LMI's text generation: each input runs as a raw prompt, its deltas become `generated_text` and token details."""

import json
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import Any

from handler.completion import Completions
from handler.concurrency import gather
from handler.engine import Delta, Engine, TextPrompt, Token
from handler.errors import InvalidRequest
from handler.images import RequestContext
from handler.payload.adapter_choice import FIELD
from handler.payload.generation import parameter_path, parse_generation_request
from handler.payload.requests import CompletionRequest, GenerationRequest, ResponseFields


class Generation:
    """The text generation of one engine. With `always_list` a single input gets a list, too, as from TGI (`tgi_compat`)."""

    def __init__(self, engine: Engine, completions: Completions, *, always_list: bool = False) -> None:
        self._engine = engine
        self._completions = completions
        self._always_list = always_list

    def parse(self, payload: Mapping[str, Any], adapter: str | None = None) -> GenerationRequest:
        """The request in `payload`, for the `adapter` that its header names. Raises RequestError."""
        request = parse_generation_request(payload, self._engine.card.text_parameters, adapter)
        try:
            return replace(request, completions=tuple(map(self._completions.resolve, request.completions)))
        except InvalidRequest as fault:
            if fault.param != "n":
                raise
            raise _by_their_name(fault, request.fields) from fault

    def completion(self, request: GenerationRequest) -> CompletionRequest:
        """The completion that LMI asks vLLM for, whose response an output formatter takes in place of the text.

        Its parameters are those of convert_lmi_schema_to_completion_request in djl-serving d21927c4 (2026-06-24). Raises
        InvalidRequest for inputs of several adapters: a completion has one model.
        """
        first, fields = request.completions[0], request.fields
        if any(other.model != first.model for other in request.completions):
            raise InvalidRequest(
                "The output formatter of model.py takes one completion, which has one adapter. Send one request for each.",
                param=FIELD,
            )
        parameters = dict(first.parameters)
        if fields.details or request.stream:
            parameters |= {"logprobs": max(1, fields.top_tokens), "return_tokens_as_token_ids": True}
        if fields.prompt_details:
            parameters["prompt_logprobs"] = 1
        if request.stream:
            parameters["stream_options"] = {"include_usage": True, "continuous_usage_stats": True}
        elif fields.full_text:
            parameters["echo"] = True
        return replace(
            first, texts=tuple(text for one in request.completions for text in one.texts), parameters=parameters
        )

    async def complete(self, request: GenerationRequest, context: RequestContext) -> bytes:
        """`{"generated_text": ...}` as JSON text, or a list with one such object for each input."""
        jobs = [
            self._complete_one(completion, request.fields, replace(context, id=f"{context.id}-{i}"))
            for i, completion in enumerate(request.completions)
        ]
        responses = await gather(jobs)
        return _json(responses if request.is_list or self._always_list else responses[0])

    async def stream(self, request: GenerationRequest, context: RequestContext) -> AsyncGenerator[bytes, None]:
        """A JSON object for each token; the last one has `generated_text` and `details`. Closing it aborts the request."""
        (completion,), fields = request.completions, request.fields
        token_stream = TokenStream(completion.texts[0].text, fields)
        async with aclosing(self._deltas(completion, fields, context)) as deltas:
            async for delta in deltas:
                for line in token_stream.lines(delta):
                    yield _json(line)

    async def _complete_one(
        self, completion: CompletionRequest, fields: ResponseFields, context: RequestContext
    ) -> dict[str, Any]:
        async with aclosing(self._deltas(completion, fields, context)) as deltas:
            sequences = [delta async for delta in deltas]
        best = max(sequences, key=_mean_logprob) if fields.best_of > 1 else sequences[0]
        response: dict[str, Any] = {"generated_text": _text(best, completion, fields)}
        if fields.details:
            response["details"] = _details(best, fields)
            if len(sequences) > 1:  # of `best_of`, or of the beams, of which vLLM gives the best first
                response["details"]["best_of_sequences"] = [
                    {"generated_text": _text(other, completion, fields), **_details(other, fields)}
                    for other in sequences
                    if other is not best
                ]
        return response

    async def _deltas(
        self, completion: CompletionRequest, fields: ResponseFields, context: RequestContext
    ) -> AsyncGenerator[Delta, None]:
        with named_as_sent(fields):
            async with (
                self._completions.prompt(completion, context) as prompt,
                aclosing(self._engine.generate(_with_tokens(prompt, fields))) as deltas,
            ):
                async for delta in deltas:
                    yield delta


@contextmanager
def named_as_sent(fields: ResponseFields) -> Iterator[None]:
    """A parameter that the engine refuses in the block is named by its path in this schema."""
    try:
        yield
    except InvalidRequest as fault:
        raise _by_their_name(fault, fields) from fault


def _by_their_name(fault: InvalidRequest, fields: ResponseFields) -> InvalidRequest:
    """The fault, at the path that the parameter has in this schema."""
    return InvalidRequest(str(fault), param=parameter_path(fault.param, fields), code=fault.code)


class TokenStream:
    """A streamed response to `prompt`: the text so far, and the lines for each delta."""

    def __init__(self, prompt: str, fields: ResponseFields) -> None:
        self._prompt = prompt
        self._fields = fields
        self._text: list[str] = []
        self._generated = 0
        self._input_length = 0

    def lines(self, delta: Delta) -> Sequence[dict[str, Any]]:
        """One line for each token. The texts of the lines, joined, are the generated text."""
        self._text.append(delta.text or "")
        self._generated += len(delta.tokens)
        if delta.prompt is not None:
            self._input_length = delta.prompt.length
        lines = [_line(token, text) for token, text in zip(delta.tokens, _texts(delta), strict=True)]
        if delta.finish_reason is None:
            return lines
        if not lines:
            lines = [{"index": 0, "token": {"id": None, "text": delta.text or "", "logprob": None}}]
        lines[-1] |= {"generated_text": self._full_text(), "details": self._stream_details(delta)}
        return lines

    def _full_text(self) -> str:
        before = self._prompt if self._fields.full_text else ""
        return before + "".join(self._text)

    def _stream_details(self, delta: Delta) -> dict[str, Any]:
        return {
            "finish_reason": _finish_reason(delta),
            "seed": self._fields.seed,
            "generated_tokens": self._generated,
            "input_length": self._input_length,
        }


def _with_tokens(prompt: TextPrompt, fields: ResponseFields) -> TextPrompt:
    """The prompt, for an engine that is to give the tokens that the response lists."""
    return replace(prompt, token_texts=prompt.stream or fields.details, prompt_tokens=fields.prompt_details)


def _line(token: Token, text: str) -> dict[str, Any]:
    details = {"id": token.id, "text": text, "logprob": token.logprob}
    return {"index": 0, "token": details, "generated_text": None, "details": None}


def _texts(delta: Delta) -> list[str]:
    texts = [token.text for token in delta.tokens]
    text = delta.text or ""
    if "".join(texts) == text:
        return texts
    # Special tokens have no text, and an incomplete character has none until it is complete.
    return [*("" for _ in texts[1:]), text] if texts else []


def _text(delta: Delta, completion: CompletionRequest, fields: ResponseFields) -> str:
    return (completion.texts[0].text if fields.full_text else "") + (delta.text or "")


def _details(delta: Delta, fields: ResponseFields) -> dict[str, Any]:
    details: dict[str, Any] = {
        "finish_reason": _finish_reason(delta),
        "generated_tokens": len(delta.tokens),
        "seed": fields.seed,
        "prefill": [_token_details(token) for token in delta.prompt.tokens] if delta.prompt else [],
        "tokens": [_token_details(token) for token in delta.tokens],
    }
    if fields.top_tokens:
        details["top_tokens"] = [
            [_token_details(likely) for likely in token.likeliest[: fields.top_tokens]] for token in delta.tokens
        ]
    return details


def _token_details(token: Token) -> dict[str, Any]:
    return {"id": token.id, "text": token.text, "logprob": token.logprob}


def _finish_reason(delta: Delta) -> str | None:
    """TGI's reason: `stop_sequence` for a stop string, `eos_token` for any token that ends the text."""
    if delta.finish_reason != "stop":
        return delta.finish_reason
    return "stop_sequence" if isinstance(delta.stop_reason, str) else "eos_token"


def _mean_logprob(delta: Delta) -> float:
    """The mean log probability of the tokens, by which TGI ranks sequences."""
    logprobs = [token.logprob for token in delta.tokens if token.logprob is not None]
    return sum(logprobs) / len(logprobs) if logprobs else float("-inf")


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
