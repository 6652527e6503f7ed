"""Tokens -> the log probabilities of chat completions, of text completions, and of prompts."""

from collections.abc import Sequence
from typing import Any

from handler.engine import MIN_LOGPROB, Token
from handler.openai.options import ResponseOptions


def chat_logprobs(tokens: Sequence[Token], options: ResponseOptions) -> dict[str, Any]:
    """`logprobs` of a choice in a chat completion."""
    return {"content": [_chat_entry(token, options) for token in tokens]}


def text_logprobs(tokens: Sequence[Token], options: ResponseOptions, offset: int = 0) -> dict[str, Any]:
    """`logprobs` of a choice in a text completion. `offset` is that of the first token in the text of the choice."""
    texts = [_text(token, options) for token in tokens]
    offsets = []
    for text in texts:
        offsets.append(offset)
        offset += len(text)
    return {
        "text_offset": offsets,
        "token_logprobs": [token.logprob for token in tokens],
        "tokens": texts,
        "top_logprobs": [_top(token, options) for token in tokens],
    }


def prompt_logprobs(tokens: Sequence[Token]) -> list[dict[str, Any] | None]:
    """`prompt_logprobs`: for each token of the prompt but the first, those of likely tokens by their ids."""
    return [
        None
        if token.logprob is None
        else {
            str(likely.id): {"logprob": likely.logprob, "rank": likely.rank, "decoded_token": likely.text}
            for likely in _chosen_first(token)
        }
        for token in tokens
    ]


def _chat_entry(token: Token, options: ResponseOptions) -> dict[str, Any]:
    listed = [] if token.logprob is None else _chosen_first(token)[: options.likeliest]
    return {
        "token": _text(token, options),
        "logprob": MIN_LOGPROB if token.logprob is None else token.logprob,
        "bytes": _bytes(token.text),
        "top_logprobs": [
            {"token": (text := _text(likely, options)), "logprob": likely.logprob, "bytes": _bytes(text)}
            for likely in listed
        ],
    }


def _top(token: Token, options: ResponseOptions) -> dict[str, float | None] | None:
    if token.logprob is None:
        return None
    return {_text(likely, options): likely.logprob for likely in _chosen_first(token)[: options.likeliest]}


def _chosen_first(token: Token) -> list[Token]:
    """The likely tokens of a place in the order of vLLM's server: the chosen one, then the others, best first."""
    return [token, *(likely for likely in token.likeliest if likely.id != token.id)]


def _text(token: Token, options: ResponseOptions) -> str:
    return f"token_id:{token.id}" if options.ids_as_tokens else token.text


def _bytes(text: str) -> list[int]:
    return list(text.encode(errors="replace"))
