"""Deltas -> `chat.completion` and `chat.completion.chunk`."""

from collections.abc import Iterator, Sequence
from typing import Any

from handler.engine import ChatPrompt, Delta, Message, ModelCard, ToolCall
from handler.openai.logprobs import chat_logprobs, prompt_logprobs
from handler.openai.options import chat_options, flag
from handler.openai.response import Response, to_json


class ChatResponse(Response):
    """A chat completion."""

    id_prefix, kind, chunk_kind = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def __init__(self, prompt: ChatPrompt, card: ModelCard, model: str) -> None:
        parameters = prompt.parameters
        super().__init__(prompt, card, model, chat_options(parameters))
        last = prompt.messages[-1]
        self._role = "assistant" if flag(parameters, "add_generation_prompt", default=True) else last.role
        self._echo = _content(last) if self._options.echo and last.role == self._role else ""
        self._wants_prompt_text = flag(parameters, "return_prompt_text")
        self._tool_choice = parameters.get("tool_choice")
        self._one_call = not flag(parameters, "parallel_tool_calls", default=True)
        self._called: set[int] = set()
        self.needs_prompt_tokens = self._options.token_ids or (self._options.prompt_logprobs and not prompt.stream)

    def chunks(self, delta: Delta) -> Iterator[bytes]:
        self._read(delta)
        if delta.prompt is not None:
            yield from self._first_chunks(delta)
        self._usage.count(delta.index, delta)
        if delta.tool_calls:
            self._called.add(delta.index)
        elif self._is_plain and delta.text is not None and delta.reasoning is None and delta.finish_reason is None:
            yield self._plain_chunk(delta.index, delta.text)
            return
        message = self._message(delta)
        logprobs, token_ids = self._details(delta)
        if message or delta.finish_reason is not None or (delta.tokens and (logprobs or token_ids)):
            choice = {
                "index": delta.index,
                "delta": message,
                "logprobs": logprobs,
                "finish_reason": self._streamed_finish_reason(delta),
                "token_ids": token_ids,
            }
            if delta.finish_reason is not None:
                choice["stop_reason"] = delta.stop_reason
            yield self._chunk(choice, self._usage_of(delta.index))

    def _first_chunks(self, delta: Delta) -> Iterator[bytes]:
        """The role of every choice, before any text; and what each repeats of the prompt."""
        prompt = self._usage.prompts[0]
        about_prompt = {
            "prompt_token_ids": [token.id for token in prompt.tokens] if self._options.token_ids else None,
            "prompt_text": prompt.text if self._wants_prompt_text else None,
        }
        opening = [({"role": self._role, "content": ""}, about_prompt)]
        if self._echo:
            opening.append(({"content": self._echo}, {}))
        usage = self._usage_of(delta.index)
        if usage is not None and delta.reasoning_tokens is not None:
            usage["completion_tokens_details"] = {"reasoning_tokens": 0}
        for message, fields in opening:
            for index in range(self._options.n):
                choice = {"index": index, "delta": message, "logprobs": None, "finish_reason": None}
                yield self._chunk(choice, usage, **fields)

    def _plain_chunk(self, index: int, text: str) -> bytes:
        choice = (
            f'{{"index":{index},"delta":{{"content":{to_json(text)}}},'
            '"logprobs":null,"finish_reason":null,"token_ids":null}'
        )
        return f"{self._plain_start}{choice}]}}".encode()

    def _message(self, delta: Delta) -> dict[str, Any]:
        message: dict[str, Any] = {}
        if delta.text is not None:
            message["content"] = delta.text
        if delta.reasoning is not None:
            message["reasoning"] = delta.reasoning
        calls = [call for call in delta.tool_calls if call.index == 0 or not self._one_call]
        if calls:
            message["tool_calls"] = [_piece(call) for call in calls]
        return message

    def _details(self, delta: Delta) -> tuple[dict[str, Any] | None, list[int] | None]:
        """`logprobs` and `token_ids`: neither if the engine hides the tokens, which are those of reasoning."""
        if delta.unlisted:
            return None, None
        return (
            chat_logprobs(delta.tokens, self._options) if self._options.logprobs else None,
            [token.id for token in delta.tokens] if self._options.token_ids else None,
        )

    def _usage_of(self, index: int) -> dict[str, Any] | None:
        if not self._options.continuous_usage:
            return None
        return {
            **self._usage.so_far(0, index),
            "completion_tokens_details": self._usage.reasoning_so_far(index),
        }

    def _choice(self, delta: Delta) -> dict[str, Any]:
        logprobs, token_ids = self._details(delta)
        message: dict[str, Any] = {
            "role": self._role,
            "content": self._echo + (delta.text or "") if self._options.echo else delta.text,
            "refusal": None,
            "annotations": None,
            "audio": None,
            "function_call": None,
            "reasoning": delta.reasoning,
        }
        if delta.tool_calls:
            message["tool_calls"] = [_call(call) for call in self._allowed(delta.tool_calls)]
        return {
            "index": self._number(delta),
            "message": message,
            "logprobs": logprobs,
            "finish_reason": self._finish_reason(delta),
            "stop_reason": delta.stop_reason,
            "token_ids": token_ids,
            "routed_experts": None,
            **delta.choice_fields,
        }

    def _allowed(self, calls: Sequence[ToolCall]) -> Sequence[ToolCall]:
        return calls[:1] if self._one_call else calls

    def _prompt_fields(self) -> dict[str, Any]:
        if len(self._usage.prompts) > 1:
            return dict.fromkeys(("prompt_logprobs", "prompt_token_ids", "prompt_text"))
        prompt = self._usage.prompts[0]
        return {
            "prompt_logprobs": prompt_logprobs(prompt.tokens) if self._options.prompt_logprobs else None,
            "prompt_token_ids": [token.id for token in prompt.tokens] if self._options.token_ids else None,
            "prompt_text": prompt.text if self._wants_prompt_text else None,
        }

    def _finish_reason(self, delta: Delta) -> str:
        """OpenAI's: `tool_calls` unless the request named the tool."""
        if self._tool_choice == "required":
            called = delta.finish_reason == "stop"
        else:
            called = bool(delta.tool_calls) and not isinstance(self._tool_choice, dict)
        return "tool_calls" if called else delta.finish_reason or "stop"

    def _streamed_finish_reason(self, delta: Delta) -> str | None:
        called = delta.index in self._called and not isinstance(self._tool_choice, dict)
        return "tool_calls" if called and delta.finish_reason == "stop" else delta.finish_reason


def _content(message: Message) -> str:
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    return "\n".join(part for part in message.content if isinstance(part, str))


def _call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments or ""}}


def _piece(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    piece: dict[str, Any] = {
        "index": call.index,
        "function": {name: value for name, value in function.items() if value is not None},
    }
    return {**piece, "id": call.id, "type": "function"} if call.id is not None else piece
