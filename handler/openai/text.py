"""Deltas -> `text_completion`, whole or in chunks."""

from collections.abc import Iterator, Sequence
from typing import Any

from handler.engine import Delta, ModelCard, TextPrompt, Token
from handler.openai.logprobs import prompt_logprobs, text_logprobs
from handler.openai.options import number, text_options
from handler.openai.response import Response, to_json


class TextResponse(Response):
    """A text completion: `n` choices for each text of the prompt."""

    id_prefix, kind, chunk_kind = "cmpl", "text_completion", "text_completion"

    def __init__(self, prompt: TextPrompt, card: ModelCard, model: str) -> None:
        options = text_options(prompt.parameters)
        super().__init__(prompt, card, model, options)
        self._echoes_only = options.echo and number(prompt.parameters, "max_tokens") == 0
        self._begun: set[int] = set()
        self._offsets: dict[int, int] = {}
        self.needs_prompt_tokens = options.token_ids or options.prompt_logprobs or options.echo

    def chunks(self, delta: Delta) -> Iterator[bytes]:
        self._read(delta)
        position = self._number(delta)
        is_first = position not in self._begun
        if not (delta.text or delta.tokens or delta.unlisted or delta.finish_reason):
            return
        self._begun.add(position)
        self._usage.count(position, delta)
        if self._is_plain and delta.finish_reason is None and not (is_first and self._options.echo):
            yield self._plain_chunk(position, delta.text or "")
            return
        text, tokens = self._shown(delta, echo=is_first)
        prompt = self._usage.prompts[delta.text_index]
        shows_prompt = is_first and (self._options.echo or self._options.token_ids)
        choice = {
            "index": position,
            "text": text,
            "logprobs": self._logprobs(tokens, position),
            "finish_reason": delta.finish_reason,
            "stop_reason": delta.stop_reason,
            "prompt_token_ids": [token.id for token in prompt.tokens] if shows_prompt else None,
            "token_ids": self._token_ids(delta),
        }
        so_far = self._usage.so_far(delta.text_index, position) if self._options.continuous_usage else None
        yield self._chunk(choice, so_far)

    def _plain_chunk(self, choice: int, text: str) -> bytes:
        rest = '"logprobs":null,"finish_reason":null,"stop_reason":null,"prompt_token_ids":null,"token_ids":null'
        return f'{self._plain_start}{{"index":{choice},"text":{to_json(text)},{rest}}}]}}'.encode()

    def _choice(self, delta: Delta) -> dict[str, Any]:
        text, tokens = self._shown(delta, echo=True)
        prompt = self._usage.prompts[delta.text_index]
        return {
            "index": self._number(delta),
            "text": text,
            "logprobs": text_logprobs(tokens, self._options) if self._options.logprobs else None,
            "finish_reason": delta.finish_reason,
            "stop_reason": delta.stop_reason,
            "token_ids": self._token_ids(delta),
            "prompt_logprobs": prompt_logprobs(prompt.tokens) if self._options.prompt_logprobs else None,
            "prompt_token_ids": [token.id for token in prompt.tokens] if self._options.token_ids else None,
            "routed_experts": None,
            **delta.choice_fields,
        }

    def _shown(self, delta: Delta, *, echo: bool) -> tuple[str, Sequence[Token]]:
        """The text and its tokens, after those of the prompt if they are echoed."""
        text = delta.text or ""
        if not (echo and self._options.echo):
            return text, delta.tokens
        prompt = self._usage.prompts[delta.text_index]
        before = "" if self._options.token_ids else prompt.text or ""  # its ids are there
        if self._echoes_only:
            return before, prompt.tokens
        return before + text, (*prompt.tokens, *delta.tokens)

    def _logprobs(self, tokens: Sequence[Token], choice: int) -> dict[str, Any] | None:
        if not self._options.logprobs:
            return None
        logprobs = text_logprobs(tokens, self._options, self._offsets.get(choice, 0))
        if tokens:
            self._offsets[choice] = logprobs["text_offset"][-1] + len(logprobs["tokens"][-1])
        return logprobs

    def _token_ids(self, delta: Delta) -> list[int] | None:
        return [token.id for token in delta.tokens] if self._options.token_ids else None
