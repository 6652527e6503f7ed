import asyncio
import json

import pytest

from handler.djl.call import Call
from handler.djl.formatters import Formatters
from handler.djl.response import Response, parse_response
from handler.errors import PredictTimeout, StartError, UserCodeFailed
from tests.user_code import execute_code, json_call, write

HEAD = """
from djl_python import Input
from djl_python.input_parser import input_formatter
from djl_python.output_formatter import output_formatter
from djl_python.request_io import TextInput
import json
"""
COMPLETION = {
    "id": "c1",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "héllo"}, "logprobs": None}],
    "usage": {"completion_tokens": 2},
}


def with_formatters(directory, text, work, **different):
    write(directory, HEAD + text)

    async def run():
        async with execute_code(directory, **{"seconds": 10, **different}) as code:
            properties = {"a": "1", "model_dir": str(directory)}
            return await work(Formatters(code.module, code.thread, properties=properties, tokenizer="tok"))

    return asyncio.run(run())


def format_payload(directory, text, call, payload=None):
    return with_formatters(
        directory, text, lambda formatters: formatters.payload(payload or json.loads(call.body), call)
    )


def format_response(directory, text, **different):
    return with_formatters(
        directory, text, lambda f: f.format_response(json.dumps(COMPLETION).encode(), "r1"), **different
    )


def test_an_input_formatter_gets_the_payload_the_tokenizer_and_the_options(tmp_path):
    text = """
@input_formatter
def mine(decoded_payload: dict, tokenizer=None, **kwargs) -> dict:
    return {"messages": decoded_payload["question"], "seen": [tokenizer, kwargs["a"], kwargs["configs"]["a"]]}
"""
    found = format_payload(tmp_path, text, json_call(b'{"question": "who?"}'))
    assert found == {"messages": "who?", "seen": ["tok", "1", "1"]}


def test_an_input_formatter_gets_only_what_it_has_parameters_for(tmp_path):
    text = "@input_formatter\ndef mine(p):\n    p['x'] = 1\n    return p\n"
    call = Call(b"hello", {"content-type": "text/plain"})
    assert format_payload(tmp_path, text, call, {"inputs": "hello"}) == {"inputs": "hello", "x": 1}


def test_an_input_formatter_of_an_input_gets_the_raw_request_and_may_return_a_text_input(tmp_path):
    text = """
class Mine(TextInput):
    pass

@input_formatter
def mine(input_item: Input, **kwargs):
    made = Mine()
    made.input_text = input_item.get_as_json()["q"]
    made.parameters = {"max_new_tokens": int(input_item.get_property("X-Max")), "a": input_item.get_property("A")}
    made.parameters["tenant"] = input_item.get_property("tenant")
    return made
"""
    call = json_call(b'{"q": "hi"}', **{"x-max": "5", "x-amzn-sagemaker-custom-attributes": "tenant=t1;a=forged"})
    parameters = {"max_new_tokens": 5, "a": "1", "tenant": "t1"}
    assert format_payload(tmp_path, text, call) == {"inputs": "hi", "parameters": parameters}


def test_a_payload_that_is_not_a_dict_is_an_error_of_the_code(tmp_path):
    with pytest.raises(UserCodeFailed, match="TypeError"):
        format_payload(tmp_path, "@input_formatter\ndef mine(p):\n    return [p]\n", json_call(b"{}"))


def test_an_init_handler_is_called_before_the_model_is_loaded(tmp_path):
    text = """
import pathlib
from djl_python.input_parser import init_handler
@init_handler
def mine(model_dir, a=None):
    pathlib.Path(model_dir, "was_called").write_text(a)
"""

    async def work(formatters):
        await formatters.start()

    with_formatters(tmp_path, text, work)
    assert (tmp_path / "was_called").read_text() == "1"
    with pytest.raises(StartError, match="failed to initialize: TypeError"):
        with_formatters(tmp_path, text.replace("(a)", "(len(a))"), work)


@pytest.mark.parametrize(
    "body",
    [
        "return response.choices[0].message.content",
        "return response['choices'][0]['message']['content']",
        "return response.model_dump()['choices'][0]['message']['content'].encode()",
        "return json.loads(response.model_dump_json())['choices'][0]['message']['content']",
    ],
)
def test_an_output_formatter_can_use_the_response_as_a_model_or_as_a_dict(tmp_path, body):
    assert format_response(tmp_path, f"@output_formatter\ndef mine(response):\n    {body}\n") == "héllo".encode()


@pytest.mark.parametrize(
    ("body", "made"),
    [
        ("return {'text': response.id}", b'{"text": "c1"}'),
        ("response.usage = None; return response", None),
        ("return '{}\\n'", b"{}"),
        ("return ['a']", b'["a"]'),
    ],
)
def test_the_client_gets_what_an_output_formatter_returns(tmp_path, body, made):
    expected = made or (json.dumps({**COMPLETION, "usage": None}, ensure_ascii=False, separators=(",", ":"))).encode()
    assert format_response(tmp_path, f"@output_formatter\ndef mine(response):\n    {body}\n") == expected


@pytest.mark.parametrize(
    "body", ["return None", "raise KeyError('secret')", "response.nothing", "return object()", "exit(1)"]
)
def test_the_text_of_an_exception_in_an_output_formatter_is_not_in_the_error(tmp_path, caplog, body):
    with pytest.raises(UserCodeFailed) as failed:
        format_response(tmp_path, f"@output_formatter\ndef mine(response):\n    {body}\n")
    assert "secret" not in str(failed.value)
    assert caplog.text.count("failed on request r1") == 1


def test_an_endless_output_formatter_times_out(tmp_path):
    with pytest.raises(PredictTimeout):
        format_response(
            tmp_path, "@output_formatter\ndef mine(response):\n    while True: pass\n", seconds=0.1, grace_seconds=0.05
        )


def test_an_output_formatter_gets_each_chunk_of_a_stream_as_an_event(tmp_path):
    text = """
events = []
@output_formatter
def mine(response):
    events.append(response)
    if response == "data: [DONE]\\n\\n":
        return json.dumps(events)
    return None if "skip" in response else json.loads(response[6:])
"""

    async def work(formatters):
        async def chunks():
            for text in (b'{"a":1}', b'"skip"', b'{"a":2}'):
                yield text

        return [piece async for piece in formatters.stream(chunks(), "r1")]

    first, second, last = with_formatters(tmp_path, text, work)
    assert (first, second) == (b'{"a": 1}\n', b'{"a": 2}\n')
    assert json.loads(last) == ['data: {"a":1}\n\n', 'data: "skip"\n\n', 'data: {"a":2}\n\n', "data: [DONE]\n\n"]


def test_closing_a_formatted_stream_closes_its_source(tmp_path):
    closed = []

    async def work(formatters):
        async def chunks():
            try:
                while True:
                    yield b"1"
            finally:
                closed.append(True)

        stream = formatters.stream(chunks(), "r1")
        await anext(stream)
        await stream.aclose()

    with_formatters(tmp_path, "@output_formatter\ndef mine(response):\n    return response\n", work)
    assert closed == [True]


def test_model_dump_takes_the_arguments_of_pydantic():
    found = parse_response(json.dumps(COMPLETION).encode())
    assert isinstance(found, Response)
    assert found.model_dump(exclude_none=True)["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": "héllo"}}
    ]
    assert found.model_dump(include={"id"}, by_alias=True, mode="json") == {"id": "c1"}
    assert "usage" not in found.model_dump(exclude={"usage"})
    assert found.model_dump_json(indent=2).startswith('{\n  "id"')
    assert json.loads(json.dumps(found)) == COMPLETION
    assert not hasattr(found, "error")
    assert getattr(found, "missing", 7) == 7
