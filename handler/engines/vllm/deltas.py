"""vLLM's servers of chat completions and of text completions, which give typed deltas in place of JSON.

Everything before the answer, and the parsers of reasoning and tool calls, are vLLM's; errors are raised.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vllm.entrypoints.generate.base.protocol import PerRequestMetrics
from vllm.entrypoints.generate.base.serving import build_spec_decoding_metrics
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionNamedToolChoiceParam
from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat
from vllm.entrypoints.openai.completion.serving import OpenAIServingCompletion
from vllm.exceptions import RetryableRequestError
from vllm.outputs import CompletionOutput, RequestOutput
from vllm.parser.abstract_parser import Parser
from vllm.renderers.chat_utils import make_tool_call_id
from vllm.utils.serial_utils import numpy2base64

from handler.engine import Delta, Prompt, ReadPrompt, Token, ToolCall
from handler.engines.vllm.requests import ChatRequest, TextRequest
from handler.engines.vllm.tokens import all_tokens, completion_tokens, read_prompt
from handler.errors import EngineFailure


class ChatDeltas(OpenAIServingChat):  # type: ignore[misc]  # vllm is untyped here
    """vLLM's server of chat completions: it returns the deltas as they are made, whole or a stream of them."""

    async def chat_completion_stream_generator(
        self,
        request: ChatRequest,
        outputs: AsyncIterator[RequestOutput],
        *_: Any,
        chat_template_kwargs: dict[str, Any] | None = None,
        mm_token_counts: Mapping[str, int] | None = None,
    ) -> AsyncGenerator[Delta, None]:
        choices = [self._choice(request, chat_template_kwargs) for _ in range(request.n or 1)]
        is_first = True
        async for output in outputs:
            prompt = self._read_prompt(request, output, mm_token_counts) if is_first else None
            for completion in output.outputs:
                _check(completion, request.prompt, begun=not is_first)
                yield choices[completion.index].delta(completion, output, prompt)
                prompt = None
            is_first = False

    async def chat_completion_full_generator(
        self,
        request: ChatRequest,
        outputs: AsyncIterator[RequestOutput],
        *_: Any,
        mm_token_counts: Mapping[str, int] | None = None,
        **__: Any,
    ) -> AsyncIterator[Delta]:
        last: RequestOutput | None = None
        async for output in outputs:
            last = output
        if last is None:
            raise EngineFailure("The engine ended the request without an answer.")
        for completion in last.outputs:
            _check(completion, request.prompt)
        return self._whole(request, last, self._read_prompt(request, last, mm_token_counts))

    async def _whole(
        self, request: ChatRequest, output: RequestOutput, prompt: ReadPrompt | None
    ) -> AsyncGenerator[Delta, None]:
        template_kwargs = self._effective_chat_template_kwargs(request) if self.parser_cls is not None else None
        for completion in output.outputs:
            yield await self._choice(request, template_kwargs).whole(completion, output, prompt)
            prompt = None

    def _choice(self, request: ChatRequest, template_kwargs: dict[str, Any] | None) -> "_Choice":
        parser: Parser | None = None
        tokenizer = self.renderer.get_tokenizer()
        if self.parser_cls is not None:  # parsers are stateful: each choice has its own
            parser = self._make_parser(request, tokenizer, template_kwargs)
        calls_by_itself = bool(self.enable_auto_tools and self.parser_cls and self.parser_cls.tool_parser_cls)
        return _Choice(
            request,
            parser,
            tokenizer,
            calls_by_itself=calls_by_itself,
            counts_reasoning=self._include_reasoning_tokens_details,
        )

    def _read_prompt(self, request: ChatRequest, output: RequestOutput, media: Mapping[str, int] | None) -> ReadPrompt:
        prompt = read_prompt(output, request.prompt, self.renderer.get_tokenizer().decode)
        return replace(prompt, cached_now=output.num_cache_creation_tokens, media=media or {})


class TextDeltas(OpenAIServingCompletion):  # type: ignore[misc]  # vllm is untyped here
    """vLLM's server of text completions: it returns the deltas as they are made, whole or a stream of them."""

    async def completion_stream_generator(
        self,
        request: TextRequest,
        inputs: Sequence[Any],
        outputs: AsyncIterator[tuple[int, RequestOutput]],
        *_: Any,
        **__: Any,
    ) -> AsyncGenerator[Delta, None]:
        begun: set[int] = set()
        source = request.source
        async for number, output in outputs:
            if output.prompt is None:
                output.prompt = self._extract_prompt_text(inputs[number])
            for completion in output.outputs:
                _check(completion, source, begun=bool(begun))
            async for delta in self._deltas(request, source, output, number, is_first=number not in begun):
                yield delta
            begun.add(number)

    def request_output_to_completion_response(
        self, outputs: list[RequestOutput], request: TextRequest, *_: Any, **__: Any
    ) -> AsyncIterator[Delta]:
        for output in outputs:
            for completion in output.outputs:
                _check(completion, request.source)
        return self._whole(outputs, request)

    async def _whole(self, outputs: list[RequestOutput], request: TextRequest) -> AsyncGenerator[Delta, None]:
        for number, output in enumerate(outputs):
            async for delta in self._deltas(request, request.source, output, number, is_first=True):
                yield delta

    async def _deltas(
        self, request: TextRequest, source: Prompt, output: RequestOutput, number: int, *, is_first: bool
    ) -> AsyncGenerator[Delta, None]:
        decode = self.renderer.get_tokenizer().decode
        prompt = read_prompt(output, source, decode) if is_first else None
        for completion in output.outputs:
            tokens = await all_tokens(completion, source, decode)
            yield Delta(
                completion.text,
                tokens,
                index=completion.index,
                finish_reason=completion.finish_reason,
                stop_reason=completion.stop_reason,
                prompt=prompt,
                text_index=number,
                unlisted=0 if tokens else len(completion.token_ids),
                choice_fields=_choice_fields(completion),
                response_fields=_response_fields(request, output),
            )
            prompt = None


class _Choice:
    """One completion of a chat, parsed."""

    def __init__(
        self,
        request: ChatRequest,
        parser: Parser | None,
        tokenizer: Any,
        *,
        calls_by_itself: bool,
        counts_reasoning: bool,
    ) -> None:
        self._request = request
        self._prompt = request.prompt  # pydantic is slow to give it
        self._parser = parser
        self._decode = tokenizer.decode
        self._calls_by_itself = calls_by_itself
        self._counts_reasoning = counts_reasoning and parser is not None
        self._hides = parser is not None and not request.include_reasoning
        options = request.stream_options
        self._counts_each = bool(options and options.include_usage and options.continuous_usage_stats)
        self._ids: list[int] = []

    def delta(self, completion: CompletionOutput, output: RequestOutput, prompt: ReadPrompt | None) -> Delta:
        """The next piece."""
        tokens = () if self._hides else completion_tokens(completion, self._prompt, self._decode)
        delta = self._unparsed(completion, output, prompt, tokens)
        if self._parser is None:
            # Before the first token there may be an output without any.
            return delta if completion.token_ids or delta.finish_reason else replace(delta, text=None)
        message = self._parser.parse_delta(
            delta_text=completion.text,
            delta_token_ids=list(completion.token_ids),
            request=self._request,
            prompt_token_ids=output.prompt_token_ids,
            finished=completion.finish_reason is not None,
        )
        if message is None:
            return replace(delta, text=None)
        calls = tuple(
            ToolCall(call.index, call.function.arguments, call.id, call.function.name) for call in message.tool_calls
        )
        return replace(delta, text=message.content, reasoning=message.reasoning, tool_calls=calls)

    async def whole(self, completion: CompletionOutput, output: RequestOutput, prompt: ReadPrompt | None) -> Delta:
        """All of it."""
        tokens = () if self._hides else await all_tokens(completion, self._prompt, self._decode)
        delta = self._unparsed(completion, output, prompt, tokens)
        if self._parser is None:
            return delta
        if output.prompt_token_ids is not None:
            self._parser.set_prompt_token_ids(output.prompt_token_ids)
        reasoning, text, found = self._parser.parse(
            completion.text,
            self._request,
            enable_auto_tools=self._calls_by_itself,
            model_output_token_ids=completion.token_ids,
        )
        choice = self._request.tool_choice
        is_forced = choice == "required" or isinstance(choice, ChatCompletionNamedToolChoiceParam)
        may_call = is_forced or (choice == "auto" and self._request.tools and self._calls_by_itself)
        calls = tuple(
            ToolCall(number, call.arguments, call.id or make_tool_call_id(), call.name)
            for number, call in enumerate(found or ())
        )
        return replace(
            delta,
            text=(text or "") if is_forced else text,
            reasoning=reasoning if self._request.include_reasoning else None,
            tool_calls=calls if may_call else (),
        )

    def _unparsed(
        self, completion: CompletionOutput, output: RequestOutput, prompt: ReadPrompt | None, tokens: tuple[Token, ...]
    ) -> Delta:
        return Delta(
            completion.text,
            tokens,
            index=completion.index,
            finish_reason=completion.finish_reason,
            stop_reason=completion.stop_reason,
            prompt=prompt,
            unlisted=0 if tokens else len(completion.token_ids),
            reasoning_tokens=self._count_reasoning(completion),
            choice_fields=_choice_fields(completion),
            response_fields=_response_fields(self._request, output),
        )

    def _count_reasoning(self, completion: CompletionOutput) -> int | None:
        if self._parser is None or not self._counts_reasoning:
            return None
        self._ids += completion.token_ids
        if completion.finish_reason is None and not self._counts_each:
            return None
        return int(self._parser.count_reasoning_tokens(tuple(self._ids)))


def _check(completion: CompletionOutput, prompt: Prompt, *, begun: bool = False) -> None:
    """Raises RetryableRequestError where the engine core failed on images that it should have had, and EngineFailure where it
    failed otherwise.

    vLLM's two caches of processed images drift apart when a request dies between them: its sender believes that the engine
    core has what never arrived. The next request with that image fails, without a token, and the sender forgets the image.
    """
    if completion.finish_reason != "error":
        return
    if prompt.images and not begun and not completion.token_ids:
        raise RetryableRequestError("The engine core does not have an image of the prompt.")
    raise EngineFailure("The engine failed on this request.")


def _choice_fields(completion: CompletionOutput) -> Mapping[str, Any]:
    experts = completion.routed_experts
    return {} if experts is None else {"routed_experts": numpy2base64(experts)}


def _response_fields(request: ChatRequest | TextRequest, output: RequestOutput) -> Mapping[str, Any]:
    """What only vLLM's server puts into a response; most have none of it."""
    if not output.finished:
        return {}
    names = () if request.stream else ("kv_transfer_params", "ec_transfer_params")
    fields = {name: value for name in names if (value := getattr(output, name)) is not None}
    # Of several completions only one would be described.
    speculation = build_spec_decoding_metrics(output) if (request.n or 1) == 1 else None
    if speculation is not None:
        fields["metrics"] = PerRequestMetrics(speculative_decoding=speculation).model_dump()
    return fields
