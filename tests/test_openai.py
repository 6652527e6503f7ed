import json

import pytest

from handler.engine import ChatPrompt, Delta, Message, ModelCard, ReadPrompt, Text, TextPrompt, Token, ToolCall
from handler.openai.chat import ChatResponse
from handler.openai.text import TextResponse

CARD = ModelCard(("mine", "other"), 100, supports_images=True, fingerprint="print")
READ = ReadPrompt(3, "what", (Token(1, "wh"), Token(2, "at", -0.5, (Token(2, "at", -0.5, rank=1),), 1)), cached=2)
ASKED = (Message("user", "hi"),)


def chat(*deltas, messages=ASKED, **parameters):
    prompt = ChatPrompt(messages=messages, parameters=parameters, request_id="7")
    return json.loads(ChatResponse(prompt, CARD, "mine").complete(deltas))


def streamed(*deltas, kind=ChatResponse, **parameters):
    given = {"parameters": parameters, "request_id": "7", "stream": True}
    if kind is ChatResponse:
        response = kind(ChatPrompt(messages=ASKED, **given), CARD, "mine")
    else:
        response = kind(TextPrompt(texts=(Text(("hi",)),), **given), CARD, "mine")
    chunks = [chunk for delta in deltas for chunk in response.chunks(delta)]
    return [json.loads(chunk) for chunk in [*chunks, *response.last_chunks()]]


def text(*deltas, **parameters):
    prompt = TextPrompt(texts=(Text(("hi",)), Text(("ho",))), parameters=parameters, request_id="7")
    return json.loads(TextResponse(prompt, CARD, "mine").complete(deltas))


def token(id_, name="x", logprob=None):
    return Token(id_, name, logprob, () if logprob is None else (Token(9, "best", -0.1), Token(id_, name, logprob)))


def test_a_completion_names_its_model_its_engine_and_its_usage():
    answer = chat(Delta("red", (token(5), token(6)), finish_reason="stop", prompt=READ))
    assert (answer["id"], answer["object"], answer["model"]) == ("chatcmpl-7", "chat.completion", "mine")
    assert answer["system_fingerprint"] == "print"
    assert answer["usage"] == {
        "prompt_tokens": 3,
        "total_tokens": 5,
        "completion_tokens": 2,
        "prompt_tokens_details": {"cached_tokens": 2, "created_cache_tokens": None, "multimodal_tokens": None},
        "completion_tokens_details": None,
    }
    (choice,) = answer["choices"]
    assert choice["message"]["content"] == "red"
    assert (choice["finish_reason"], choice["logprobs"], choice["token_ids"]) == ("stop", None, None)


def test_a_stream_begins_with_the_role_and_ends_with_the_reason():
    chunks = streamed(Delta("größ", (token(5),), prompt=READ), Delta('er"', (token(6),), finish_reason="length"))
    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [
        {"role": "assistant", "content": ""},
        {"content": "größ"},
        {"content": 'er"'},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, "length"]
    assert [chunk.get("system_fingerprint") for chunk in chunks] == [None, None, "print"]
    assert all("usage" not in chunk for chunk in chunks)


def test_each_choice_of_a_stream_has_its_role_first():
    chunks = streamed(Delta("a", (token(5),), prompt=READ), Delta("b", (token(5),), index=1), n=2)
    assert [chunk["choices"][0]["index"] for chunk in chunks] == [0, 1, 0, 1]


def test_usage_follows_the_last_chunk_where_it_is_asked_for():
    deltas = (Delta("a", (token(5),), prompt=READ), Delta("b", (token(6),), finish_reason="stop"))
    *before, last = streamed(*deltas, stream_options={"include_usage": True})
    assert (last["choices"], last["usage"]["total_tokens"], last["system_fingerprint"]) == ([], 5, "print")
    assert not any("usage" in chunk for chunk in before)
    options = {"include_usage": True, "continuous_usage_stats": True}
    assert [chunk["usage"]["completion_tokens"] for chunk in streamed(*deltas, stream_options=options)] == [0, 1, 2, 2]


def test_nothing_is_sent_for_a_delta_that_a_parser_holds_back_unless_its_tokens_are_asked_for():
    deltas = (Delta(None, (token(5),), prompt=READ), Delta("b", (token(6),), finish_reason="stop"))
    assert len(streamed(*deltas)) == 2
    assert [chunk["choices"][0].get("token_ids") for chunk in streamed(*deltas, return_token_ids=True)] == [
        None,
        [5],
        [6],
    ]


def test_log_probabilities_name_the_chosen_token_first():
    answer = chat(Delta("x", (token(5, "x", -2.0),), prompt=READ), logprobs=True, top_logprobs=2)
    (entry,) = answer["choices"][0]["logprobs"]["content"]
    assert (entry["token"], entry["logprob"], entry["bytes"]) == ("x", -2.0, [120])
    assert [likely["token"] for likely in entry["top_logprobs"]] == ["x", "best"]


def test_hidden_tokens_are_counted_and_not_shown():
    answer = chat(Delta("x", unlisted=4, prompt=READ, reasoning_tokens=3), logprobs=True, return_token_ids=True)
    assert (answer["choices"][0]["logprobs"], answer["choices"][0]["token_ids"]) == (None, None)
    assert answer["usage"]["completion_tokens"] == 4
    assert answer["usage"]["completion_tokens_details"] == {"reasoning_tokens": 3}


CALL = ToolCall(0, '{"a": 1}', "call-1", "look")


@pytest.mark.parametrize(
    ("calls", "choice", "reason", "told"),
    [
        ((CALL,), "auto", "stop", "tool_calls"),
        ((CALL,), {"type": "function", "function": {"name": "look"}}, "stop", "stop"),
        ((CALL,), "required", "stop", "tool_calls"),
        ((CALL,), "required", "length", "length"),
        ((), "auto", "stop", "stop"),
    ],
)
def test_a_call_ends_with_the_reason_tool_calls_unless_the_request_named_the_tool(calls, choice, reason, told):
    delta = Delta(None, (token(5),), finish_reason=reason, prompt=READ, tool_calls=calls)
    assert chat(delta, tool_choice=choice)["choices"][0]["finish_reason"] == told
    assert streamed(delta, tool_choice=choice)[-1]["choices"][0]["finish_reason"] == told


def test_one_call_is_shown_where_parallel_calls_are_not_wanted():
    two = Delta(None, (token(5),), prompt=READ, tool_calls=(CALL, ToolCall(1, "{}", "call-2", "look")))
    assert len(chat(two)["choices"][0]["message"]["tool_calls"]) == 2
    (call,) = chat(two, parallel_tool_calls=False)["choices"][0]["message"]["tool_calls"]
    assert call == {"id": "call-1", "type": "function", "function": {"name": "look", "arguments": '{"a": 1}'}}


def test_the_last_message_is_repeated_if_it_is_of_the_same_role():
    messages = (Message("user", "hi"), Message("assistant", ("it", "is ")))
    echoed = chat(Delta("red", prompt=READ), messages=messages, echo=True, add_generation_prompt=False)
    assert echoed["choices"][0]["message"]["content"] == "it\nis red"
    assert chat(Delta("red", prompt=READ), echo=True)["choices"][0]["message"]["content"] == "red"


def test_an_engines_own_fields_reach_the_client():
    answer = chat(
        Delta("x", prompt=READ, choice_fields={"routed_experts": "b64"}, response_fields={"metrics": {"a": 1}})
    )
    assert (answer["choices"][0]["routed_experts"], answer["metrics"]) == ("b64", {"a": 1})


def test_the_texts_of_a_prompt_are_choices_in_order_and_their_usage_is_summed():
    answer = text(Delta("b", (token(6),), text_index=1, prompt=READ), Delta("a", (token(5),), prompt=READ))
    assert [(choice["index"], choice["text"]) for choice in answer["choices"]] == [(0, "a"), (1, "b")]
    assert answer["usage"]["prompt_tokens"] == 6
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 4


def test_an_echo_stands_before_the_text_and_its_log_probabilities():
    delta = Delta("red", (token(5, "red", -2.0),), prompt=READ)
    (choice,) = text(delta, echo=True, logprobs=0)["choices"]
    assert choice["text"] == "whatred"
    assert choice["logprobs"]["tokens"] == ["wh", "at", "red"]
    assert choice["logprobs"]["text_offset"] == [0, 2, 4]
    assert choice["logprobs"]["token_logprobs"] == [None, -0.5, -2.0]
    assert choice["prompt_logprobs"] == [None, {"2": {"logprob": -0.5, "rank": 1, "decoded_token": "at"}}]


def test_offsets_go_on_from_chunk_to_chunk():
    deltas = (
        Delta("", (token(5, "re", -1.0),), prompt=READ),
        Delta("red", (token(6, "d", -1.0),), finish_reason="stop"),
    )
    chunks = streamed(*deltas, kind=TextResponse, logprobs=1)
    assert [chunk["choices"][0]["logprobs"]["text_offset"] for chunk in chunks] == [[0], [2]]


def test_a_prompt_that_is_read_before_the_first_token_makes_no_chunk_of_text():
    deltas = (Delta("", prompt=READ), Delta("a", (token(5),)), Delta("", (token(6),), finish_reason="stop"))
    chunks = streamed(*deltas, kind=TextResponse)
    assert [chunk["choices"][0]["text"] for chunk in chunks] == ["a", ""]
