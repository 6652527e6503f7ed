"""Our responses beside those of vLLM's own server: the same outputs of an engine go through both."""

import asyncio
import copy
import dataclasses
import itertools
import json
import math
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from handler.engine import ChatPrompt, Message, ModelCard, Text, TextPrompt
from handler.openai.chat import ChatResponse
from handler.openai.text import TextResponse

pytestmark = [
    pytest.mark.engine,
    # vLLM's and torch's own; ours would be errors in every other file.
    pytest.mark.filterwarnings("default"),
]

MODEL = Path(__file__).parent.parent / "demo" / "model"
PLAIN = "a red circle, größer <b>"
THOUGHT = "<think>it is red</think>a red circle"
CALLS = (
    'let me see <tool_call>{"name": "look", "arguments": {"at": "it"}}</tool_call>'
    '<tool_call>{"name": "look", "arguments": {"at": "me"}}</tool_call>'
)
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
NAMED = {"type": "function", "function": {"name": "look"}}
PARSERS = {
    "": {},
    "reasoning": {"reasoning_parser": "deepseek_r1"},
    "tools": {"tool_parser": "hermes", "enable_auto_tools": True},
    "both": {"reasoning_parser": "qwen3", "tool_parser": "hermes", "enable_auto_tools": True},
}


class RecordedEngine:
    """Gives each prompt the outputs that vLLM's engine would: of `text`, in steps of one token or more."""

    errored = False
    input_processor = None

    def __init__(self, config, renderer, text, **last):
        self.vllm_config, self.model_config, self.renderer = config, config.model_config, renderer
        self.text = text
        self.last = {"finish_reason": "stop", "stop_reason": None, **last}

    def check_admission(self, _count):
        """Nothing waits."""

    async def generate(self, engine_input, params, request_id, **_):
        tokenizer = self.renderer.tokenizer
        ids = tokenizer.encode(self.text, add_special_tokens=False)
        texts = [tokenizer.decode(ids[: i + 1]).rstrip("\ufffd") for i in range(len(ids))]
        pieces = [text.removeprefix(before) for before, text in itertools.pairwise(["", *texts])]
        if params.output_kind.name == "FINAL_ONLY":
            outputs = [self._completion(i, "".join(pieces), ids, params, self.last) for i in range(params.n)]
            yield self._output(engine_input, params, request_id, outputs, is_first=True)
            return
        steps = [slice(0, 1), *(slice(i, i + 2) for i in range(1, len(ids), 2))]
        for number, (step, choice) in enumerate(itertools.product(steps, range(params.n))):
            last = self.last if step is steps[-1] else {}
            completion = self._completion(choice, "".join(pieces[step]), ids[step], params, last)
            output = self._output(engine_input, params, request_id, [completion], is_first=number < params.n)
            output.finished = bool(last) and choice == params.n - 1
            yield output

    def _completion(self, index, text, ids, params, last):
        from vllm.outputs import CompletionOutput

        logprobs = None if params.logprobs is None else [self._place(token, params.logprobs) for token in ids]
        return CompletionOutput(index, text, list(ids), None, logprobs, **last)

    def _output(self, engine_input, params, request_id, completions, *, is_first):
        from vllm.outputs import RequestOutput

        ids = engine_input["prompt_token_ids"]
        prompt_logprobs = None
        if params.prompt_logprobs is not None:
            places = [None, *(self._place(token, params.prompt_logprobs) for token in ids[1:])]
            prompt_logprobs = places if is_first else []
        return RequestOutput(
            request_id,
            engine_input.get("prompt"),
            ids,
            prompt_logprobs,
            completions,
            finished=True,
            num_cached_tokens=3,
            num_cache_creation_tokens=2,
        )

    def _place(self, token, count):
        """The chosen token first, and as many likely ones: the chosen is the second likely."""
        from vllm.logprobs import Logprob

        decode = self.renderer.tokenizer.decode
        likely = {
            other: Logprob(-0.5 * other, 1 if other == 10 else other - 8, decode(other))
            for other in range(10, 10 + count)
        }
        return {token: Logprob(-0.75 if token % 2 else float("-inf"), 2, decode(token)), **likely}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    from transformers import AutoTokenizer
    from vllm.engine.arg_utils import AsyncEngineArgs

    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    tokenizer.add_tokens(["<think>", "</think>", "<tool_call>", "</tool_call>"])  # the parsers look for them
    directory = str(tmp_path_factory.mktemp("tokenizer"))
    tokenizer.save_pretrained(directory)
    return AsyncEngineArgs(model=str(MODEL), tokenizer=directory, dtype="float32").create_engine_config()


@pytest.fixture(scope="module")
def renderer(config):
    from vllm.renderers import renderer_from_config

    renderer = renderer_from_config(config)
    yield renderer
    renderer.shutdown()


@pytest.fixture(scope="module")
def served(config, renderer):
    """Makes vLLM's handlers of chat and text, and ours, for an engine that gives `text`."""
    from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat
    from vllm.entrypoints.openai.completion.serving import OpenAIServingCompletion
    from vllm.entrypoints.openai.models.protocol import BaseModelPath
    from vllm.entrypoints.openai.models.serving import OpenAIServingModels

    from handler.engines.vllm.deltas import ChatDeltas, TextDeltas
    from handler.engines.vllm.requests import Renderer

    def make(text, parsers, **last):
        engine = RecordedEngine(config, renderer, text, **last)
        models = OpenAIServingModels(engine, [BaseModelPath(name="mine", model_path=str(MODEL))])
        common = {"request_logger": None, "enable_prompt_tokens_details": True}
        template = {"chat_template": None, "chat_template_content_format": "string", **PARSERS[parsers]}
        online = Renderer(config.model_config, renderer, request_logger=None, **template)
        chat = {**common, **template, "online_renderer": online}
        return SimpleNamespace(
            chats=[kind(engine, models, "assistant", **chat) for kind in (OpenAIServingChat, ChatDeltas)],
            texts=[
                kind(engine, models, online_renderer=online, **common) for kind in (OpenAIServingCompletion, TextDeltas)
            ],
        )

    return make


async def _ask(serving, request):
    is_chat = hasattr(serving, "create_chat_completion")
    return await (serving.create_chat_completion if is_chat else serving.create_completion)(request)


async def _theirs(serving, request):
    """The JSON of vLLM's own server."""
    answer = await _ask(serving, request)
    if not request.stream:
        return [json.loads(answer.model_dump_json())]
    data = [event.removeprefix("data: ").strip() async for event in answer]
    assert data.pop() == "[DONE]"
    return [json.loads(chunk) for chunk in data]


async def _ours(serving, request, response):
    answer = await _ask(serving, request)
    if not request.stream:
        return [json.loads(response.complete([delta async for delta in answer]))]
    chunks = []
    async for delta in answer:
        chunks += response.chunks(delta)
    return [json.loads(chunk) for chunk in [*chunks, *response.last_chunks()]]


def _compare(handlers, prompt, make_request, kind):
    theirs, ours = handlers
    card = ModelCard(("mine",), 100, supports_images=True, fingerprint=theirs.system_fingerprint)
    response = kind(prompt, card, "mine")
    prompt = dataclasses.replace(prompt, tokens=response.needs_tokens, prompt_tokens=response.needs_prompt_tokens)
    expected = asyncio.run(_theirs(theirs, make_request(prompt)))
    found = asyncio.run(_ours(ours, make_request(prompt), response))
    said = [_comparable(chunk) for chunk in expected if _says_something(chunk)]
    # Several texts run side by side: their chunks mix as they come.
    assert sorted(map(_comparable, found), key=_position) == sorted(said, key=_position)


def _position(chunk):
    return chunk["choices"][0]["index"] if chunk["choices"] else math.inf


def _comparable(answer):
    """Without what is random. In a delta, a null says what an absent field does, and vLLM's parsers write either."""
    answer = copy.deepcopy(answer)
    answer["created"] = 0
    for choice in answer["choices"]:
        message = choice.get("delta") or choice.get("message") or {}
        for call in message.get("tool_calls", ()):
            if call.get("id"):
                call["id"] = re.sub(r"\w{9,}$", "", call["id"])
        if "delta" in choice:
            choice["delta"] = {name: value for name, value in message.items() if value is not None}
    return answer


def _says_something(chunk):
    return not chunk["choices"] or any(
        {name: value for name, value in choice.items() if name != "index" and value not in (None, {})}
        for choice in _comparable(chunk)["choices"]
    )


FIELDS = [
    {},
    {"n": 2},
    {"max_tokens": 7, "stop": ["!"]},
    {"return_token_ids": True},
    {"return_token_ids": True, "n": 2},
    {"echo": True},
    {"echo": True, "n": 2, "return_token_ids": True},
]
CHAT_FIELDS = [
    *FIELDS,
    {"logprobs": True},
    {"logprobs": True, "top_logprobs": 3},
    {"logprobs": True, "top_logprobs": 1, "return_tokens_as_token_ids": True, "n": 2},
    {"logprobs": "true", "top_logprobs": 2, "n": "2", "echo": 1},
    {"return_prompt_text": True},
    {"add_generation_prompt": False, "continue_final_message": True, "echo": True},
]
TEXT_FIELDS = [
    *FIELDS,
    {"logprobs": 0},
    {"logprobs": 3, "n": 2},
    {"logprobs": 2, "return_tokens_as_token_ids": True},
    {"logprobs": 1, "echo": True},
    {"logprobs": 1, "echo": True, "max_tokens": 0},
    {"echo": True, "max_tokens": 0},
]
WHOLE = {"prompt_logprobs": 2}
STREAMS = [None, {}, {"include_usage": True}, {"include_usage": True, "continuous_usage_stats": True}]
TEXTS = (Text(("what is it",)), Text(("a",)))
MESSAGES = (Message("user", "what is it"), Message("assistant", "It is "))


def _chat(handlers, parameters, streams, messages=MESSAGES[:1]):
    from handler.engines.placeholders import PlaceholderEscaper
    from handler.engines.vllm.requests import chat_request

    if streams:
        parameters = {**parameters, "stream_options": streams}
    prompt = ChatPrompt(messages=messages, parameters=parameters, request_id="id", stream=streams is not None)
    _compare(handlers, prompt, lambda prompt: chat_request(prompt, PlaceholderEscaper(None, ""), 128), ChatResponse)


@pytest.mark.parametrize("streams", STREAMS, ids=str)
@pytest.mark.parametrize("parameters", CHAT_FIELDS, ids=str)
def test_a_chat_completion_is_that_of_vllms_server(served, parameters, streams):
    messages = MESSAGES if "continue_final_message" in parameters else MESSAGES[:1]
    _chat(served(PLAIN, "").chats, parameters, streams, messages)


@pytest.mark.parametrize("parameters", [WHOLE, {**WHOLE, "return_token_ids": True}], ids=str)
def test_the_log_probabilities_of_a_prompt_are_those_of_vllms_server(served, parameters):
    _chat(served(PLAIN, "").chats, parameters, None)
    _text(served(PLAIN, "").texts, parameters, None)


@pytest.mark.parametrize(
    "last", [{"finish_reason": "length"}, {"stop_reason": "!"}, {"stop_reason": 7}, {"finish_reason": "abort"}], ids=str
)
@pytest.mark.parametrize("streams", STREAMS[:2], ids=str)
def test_the_end_is_that_of_vllms_server(served, last, streams):
    handlers = served(PLAIN, "", **last)
    _chat(handlers.chats, {}, streams)
    _text(handlers.texts, {}, streams)


@pytest.mark.parametrize("streams", STREAMS, ids=str)
@pytest.mark.parametrize("text", [THOUGHT, "<think>it is", PLAIN])
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"n": 2},
        {"include_reasoning": False},
        {"include_reasoning": False, "logprobs": True, "return_token_ids": True},
    ],
    ids=str,
)
def test_reasoning_is_that_of_vllms_server(served, parameters, text, streams):
    _chat(served(text, "reasoning").chats, parameters, streams)


@pytest.mark.parametrize("streams", STREAMS[:3], ids=str)
@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        (CALLS, {}),
        (CALLS, {"n": 2, "logprobs": True, "return_token_ids": True}),
        (CALLS, {"parallel_tool_calls": False}),
        (CALLS, {"tool_choice": "none"}),
        (PLAIN, {}),
        ('[{"name": "look", "parameters": {"at": "it"}}]', {"tool_choice": "required"}),
        ('{"at": "it"}', {"tool_choice": NAMED}),
    ],
    ids=str,
)
def test_tool_calls_are_those_of_vllms_server(served, text, parameters, streams):
    _chat(served(text, "tools").chats, {"tools": TOOLS, **parameters}, streams)
    _chat(served(f"<think>hm</think>{text}", "both").chats, {"tools": TOOLS, **parameters}, streams)


@pytest.mark.parametrize("streams", STREAMS[:2], ids=str)
def test_a_call_that_was_cut_off_ends_as_on_vllms_server(served, streams):
    _chat(served(CALLS, "tools", finish_reason="length").chats, {"tools": TOOLS}, streams)


def _text(handlers, parameters, streams, texts=TEXTS[:1]):
    from handler.engines.placeholders import PlaceholderEscaper
    from handler.engines.vllm.requests import text_request

    if streams:
        parameters = {**parameters, "stream_options": streams}
    prompt = TextPrompt(texts=texts, parameters=parameters, request_id="id", stream=streams is not None)
    make_request = lambda prompt: text_request(prompt, PlaceholderEscaper(None, ""), lambda _: None)  # noqa: E731
    _compare(handlers, prompt, make_request, TextResponse)


@pytest.mark.parametrize("streams", STREAMS, ids=str)
@pytest.mark.parametrize("parameters", TEXT_FIELDS, ids=str)
def test_a_text_completion_is_that_of_vllms_server(served, parameters, streams):
    _text(served(PLAIN, "").texts, parameters, streams)


def test_token_ids_are_echoed_as_text(served):
    _text(served(PLAIN, "").texts, {"echo": True}, {}, (Text(tokens=(20, 21, 22)),))


@pytest.mark.parametrize("streams", STREAMS, ids=str)
@pytest.mark.parametrize("parameters", [{}, {"n": 2, "logprobs": 1, "echo": True}], ids=str)
def test_several_texts_are_answered_as_by_vllms_server_but_for_the_sum_of_cached_tokens(
    served, monkeypatch, parameters, streams
):
    # vLLM counts those of one text.
    monkeypatch.setattr(RecordedEngine, "_output", _without_cached(RecordedEngine._output))
    _text(served(PLAIN, "").texts, parameters, streams, TEXTS)


def _without_cached(output):
    def changed(*arguments, **options):
        found = output(*arguments, **options)
        found.num_cached_tokens = found.num_cache_creation_tokens = None
        return found

    return changed
