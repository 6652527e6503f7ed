"""LMI's text-generation schema: the inputs run as raw prompts, their deltas written as `generated_text` and tokens."""

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from handler.completion import Completions
from handler.concurrency import all_of
from handler.engine import Delta, Token
from handler.errors import InvalidRequest
from handler.model import Model
from handler.payload.completion import CompletionRequest
from handler.payload.generation import GenerationRequest, Wanted, generation_request, path_of
from handler.sessions import Session


class Generation:
    """Text generation of one model. `listed` answers a single input with a list as well, as TGI does (`tgi_compat`)."""

    def __init__(self, model: Model, completions: Completions, *, listed: bool = False) -> None:
        self._model = model
        self._completions = completions
        self._listed = listed

    def read(self, payload: Mapping[str, Any], adapter: str | None = None) -> GenerationRequest:
        """The request in `payload`, for the adapter that its header names. Raises RequestError."""
        request = generation_request(payload, self._model.card.text_parameters, adapter)
        for completion in request.completions:
            self._completions.admit(completion)
        return request

    async def complete(self, request: GenerationRequest, request_id: str, session: Session | None = None) -> bytes:
        """`{"generated_text": ...}` as JSON text, or a list of such, one for each input."""
        jobs = (
            self._answer(completion, request.wanted, f"{request_id}-{i}", session)
            for i, completion in enumerate(request.completions)
        )
        answers = await all_of(list(jobs))
        return _json(answers if request.many or self._listed else answers[0])

    async def stream(
        self, request: GenerationRequest, request_id: str, session: Session | None = None
    ) -> AsyncGenerator[bytes, None]:
        """A JSON object for each token, the last with `generated_text` and `details`; closing it aborts the request."""
        (completion,), wanted = request.completions, request.wanted
        token_stream = TokenStream(completion.texts[0].text, wanted)
        async with aclosing(self._deltas(completion, wanted, request_id, session)) as deltas:
            async for delta in deltas:
                for line in token_stream.lines(delta):
                    yield _json(line)

    async def _answer(
        self, completion: CompletionRequest, wanted: Wanted, request_id: str, session: Session | None
    ) -> dict[str, Any]:
        async with aclosing(self._deltas(completion, wanted, request_id, session)) as deltas:
            grown = [delta async for delta in deltas]
        best = max(grown, key=_likelihood) if wanted.best_of > 1 else grown[0]
        answer: dict[str, Any] = {"generated_text": _text(best, completion, wanted)}
        if wanted.details:
            answer["details"] = _details(best, wanted)
            if wanted.best_of > 1:
                others = (delta for delta in grown if delta is not best)
                answer["details"]["best_of_sequences"] = [
                    {"generated_text": _text(delta, completion, wanted), **_details(delta, wanted)} for delta in others
                ]
        return answer

    async def _deltas(
        self, completion: CompletionRequest, wanted: Wanted, request_id: str, session: Session | None
    ) -> AsyncGenerator[Delta, None]:
        prompt = await self._completions.prompt(completion, request_id, session)
        try:
            async with aclosing(self._model.engine.generate(prompt)) as deltas:
                async for delta in deltas:
                    yield delta
        except InvalidRequest as fault:
            raise InvalidRequest(str(fault), param=path_of(fault.param, wanted), code=fault.code) from fault
        finally:
            prompt.release_images()


class TokenStream:
    """A stream as it is told: what came so far of the answer to `prompt`, and the lines for what comes next."""

    def __init__(self, prompt: str, wanted: Wanted) -> None:
        self._prompt = prompt
        self._wanted = wanted
        self._text: list[str] = []
        self._generated = 0
        self._input_length = 0

    def lines(self, delta: Delta) -> Sequence[dict[str, Any]]:
        """One line for each token; texts of tokens are such that they join to the generated text."""
        self._text.append(delta.text)
        self._generated += len(delta.tokens)
        self._input_length = self._input_length or len(delta.prompt)
        lines = [_line(token, text) for token, text in zip(delta.tokens, _texts(delta), strict=True)]
        if delta.finish_reason is None:
            return lines
        if not lines:
            lines = [{"index": 0, "token": {"id": None, "text": delta.text, "logprob": None}}]
        lines[-1] |= {"generated_text": self._full_text(), "details": self._end(delta)}
        return lines

    def _full_text(self) -> str:
        before = self._prompt if self._wanted.full_text else ""
        return before + "".join(self._text)

    def _end(self, delta: Delta) -> dict[str, Any]:
        return {
            "finish_reason": _finish(delta),
            "seed": self._wanted.seed,
            "generated_tokens": self._generated,
            "input_length": self._input_length,
        }


def _line(token: Token, text: str) -> dict[str, Any]:
    shown = {"id": token.id, "text": text, "logprob": token.logprob}
    return {"index": 0, "token": shown, "generated_text": None, "details": None}


def _texts(delta: Delta) -> list[str]:
    texts = [token.text for token in delta.tokens]
    if "".join(texts) == delta.text:
        return texts
    # Special tokens have no text, and half a character waits for its other half.
    return [*("" for _ in texts[1:]), delta.text] if texts else []


def _text(delta: Delta, completion: CompletionRequest, wanted: Wanted) -> str:
    return (completion.texts[0].text if wanted.full_text else "") + delta.text


def _details(delta: Delta, wanted: Wanted) -> dict[str, Any]:
    details: dict[str, Any] = {
        "finish_reason": _finish(delta),
        "generated_tokens": len(delta.tokens),
        "seed": wanted.seed,
        "prefill": [_shown(token) for token in delta.prompt] if wanted.prompt_details else [],
        "tokens": [_shown(token) for token in delta.tokens],
    }
    if wanted.likeliest:
        details["top_tokens"] = [
            [_shown(likely) for likely in token.likeliest[: wanted.likeliest]] for token in delta.tokens
        ]
    return details


def _shown(token: Token) -> dict[str, Any]:
    return {"id": token.id, "text": token.text, "logprob": token.logprob}


def _finish(delta: Delta) -> str | None:
    """TGI's words: a stop string is a `stop_sequence`, any token that ends a text is an `eos_token`."""
    if delta.finish_reason != "stop":
        return delta.finish_reason
    return "stop_sequence" if isinstance(delta.stop_reason, str) else "eos_token"


def _likelihood(delta: Delta) -> float:
    """The mean log probability of the answer's tokens, by which TGI ranks."""
    weights = [token.logprob for token in delta.tokens if token.logprob is not None]
    return sum(weights) / len(weights) if weights else float("-inf")


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
