import json

import pytest

from handler.engine import Delta, ModelCard, Token
from handler.engines.fake import FakeEngine
from handler.errors import EngineFailure, InvalidRequest
from handler.generation import TokenStream
from handler.images import RequestContext
from handler.payload.requests import ResponseFields
from tests.serving import data_url, with_service

CARD = ModelCard(
    names=("fake",),
    max_model_len=100,
    supports_images=True,
    text_parameters=frozenset({"max_tokens", "seed", "temperature"}),
    placeholder="<fake-image>",
)


def complete(body, engine=None, **environ):
    async def use(service):
        return await service.complete(service.parse(body), RequestContext("id"))

    return json.loads(with_service(use, engine or FakeEngine(card=CARD), **environ))


def stream(body, engine):
    async def use(service):
        return [json.loads(chunk) async for chunk in service.stream(service.parse(body), RequestContext("id"))]

    return with_service(use, engine)


def asking(inputs, **parameters):
    return {"inputs": inputs, "parameters": parameters}


def test_an_input_is_answered_with_its_generated_text():
    assert complete(asking("hi")) == {"generated_text": "hi"}


def test_the_image_stands_at_its_mark():
    body = asking({"prompt": "a <fake-image> b <image>", "images": [data_url(2, 3), data_url(4, 5)]})
    assert complete(body) == {"generated_text": "a [2x3] b [4x5]"}


def test_each_input_of_a_list_is_answered_in_its_place():
    body = asking(["a", {"prompt": "b", "image": data_url(2, 3)}, "c"])
    assert [one["generated_text"] for one in complete(body)] == ["a", "[2x3]\nb", "c"]


def test_one_faulty_input_of_a_list_is_the_fault_of_the_request():
    with pytest.raises(InvalidRequest) as refusal:
        complete(asking(["a", {"prompt": "<image> <image>", "images": [data_url()]}]))
    assert refusal.value.param == "inputs[1].prompt"


def test_a_failure_on_one_input_of_a_list_is_raised_alone():
    with pytest.raises(EngineFailure):
        complete(asking(["a", "b"]), FakeEngine(card=CARD, error=EngineFailure("no")))


def test_full_text_has_the_prompt_before_the_answer():
    assert complete(asking("hi", return_full_text=True), FakeEngine(card=CARD, replies=["!"])) == {
        "generated_text": "hi!"
    }


def test_details_tell_every_token_and_how_it_ended():
    answered = complete(
        asking("a b", details=True, decoder_input_details=True, top_n_tokens=1, seed=7),
        FakeEngine(card=CARD, replies=["x", "yz"]),
    )
    assert answered["generated_text"] == "xyz"
    assert answered["details"] == {
        "finish_reason": "eos_token",
        "generated_tokens": 2,
        "seed": 7,
        "prefill": [{"id": 0, "text": "a", "logprob": None}, {"id": 1, "text": "b", "logprob": None}],
        "tokens": [{"id": 1, "text": "x", "logprob": -0.5}, {"id": 2, "text": "yz", "logprob": -0.5}],
        "top_tokens": [[{"id": 1, "text": "x", "logprob": -0.5}], [{"id": 2, "text": "yz", "logprob": -0.5}]],
    }


def test_a_stream_has_a_line_for_each_token_and_the_whole_text_in_the_last():
    body = {**asking("a b", return_full_text=True, seed=7), "stream": True}
    lines = stream(body, FakeEngine(card=CARD, replies=["x", "yz"]))
    assert lines == [
        {"index": 0, "token": {"id": 1, "text": "x", "logprob": -0.5}, "generated_text": None, "details": None},
        {
            "index": 0,
            "token": {"id": 2, "text": "yz", "logprob": -0.5},
            "generated_text": "a bxyz",
            "details": {"finish_reason": "eos_token", "seed": 7, "generated_tokens": 2, "input_length": 2},
        },
    ]


def test_a_stream_that_is_closed_early_is_aborted():
    engine = FakeEngine(card=CARD, replies=["a", "b", "c"])

    async def use(service):
        chunks = service.stream(service.parse({**asking("hi"), "stream": True}), RequestContext("id"))
        await anext(chunks)
        await chunks.aclose()

    with_service(use, engine)
    assert engine.aborted == ["id"]


def test_tgi_gets_a_list_for_one_input_too():
    assert complete(asking("hi"), OPTION_TGI_COMPAT="true") == [{"generated_text": "hi"}]


def test_half_a_character_waits_for_its_other_half():
    token_stream = TokenStream("", ResponseFields())
    half = Delta("", (Token(1, "\ufffd"),))
    whole = Delta("é!", (Token(2, "\ufffd"), Token(3, "!")), finish_reason="length")
    lines = [*token_stream.lines(half), *token_stream.lines(whole)]
    assert [line["token"]["text"] for line in lines] == ["", "", "é!"]
    assert lines[-1]["generated_text"] == "é!"
    assert lines[-1]["details"]["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("finish", "stop", "told"),
    [
        ("stop", None, "eos_token"),
        ("stop", 7, "eos_token"),
        ("stop", "###", "stop_sequence"),
        ("length", None, "length"),
        ("abort", None, "abort"),
    ],
)
def test_the_end_is_told_in_tgis_words(finish, stop, told):
    (line,) = TokenStream("", ResponseFields()).lines(
        Delta("a", (Token(1, "a"),), finish_reason=finish, stop_reason=stop)
    )
    assert line["details"]["finish_reason"] == told


def test_the_end_is_told_even_if_no_token_comes_with_it():
    (line,) = TokenStream("", ResponseFields()).lines(Delta("", (), finish_reason="abort"))
    assert line["token"]["id"] is None
    assert line["details"]["generated_tokens"] == 0
