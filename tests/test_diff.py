"""`lumi diff`: what two engines make of a request, side by side."""

import asyncio
import dataclasses
import json

import pytest
import torch

from container.diff.answer import Answer, answer
from container.diff.report import agree, describe
from container.diff.run import DIFFERENT, FAILED, SAME, compare, read_request
from container.diff.summary import summarize
from container.start.machine import CheckedMachine, inspect
from container.start.model import locate_model
from handler.engine import Token
from handler.engines.fake import FakeEngine, FakeFactory
from handler.errors import StartError
from tests.serving import ask, data_url, options_of, with_service


def token(number, text, *likeliest):
    return Token(number, text, -0.1, tuple(Token(each, word, logprob) for each, word, logprob in likeliest))


CAT = token(7, "cat", (7, "cat", -0.1), (8, "dog", -2.5))
DOG = token(8, "dog", (8, "dog", -0.1), (7, "cat", -2.5))
ONE = Answer(
    "transformers 1",
    "<s>USER: hi",
    (Token(1, "<s>"), Token(5, "USER")),
    (CAT,),
    {"pixel_values": summarize([torch.arange(48.0).reshape(3, 4, 4)])},
    {"temperature": 0.5, "stop": ()},
)
OTHER = dataclasses.replace(ONE, engine="vLLM 2", sampling={"temperature": 0.5, "stop": None, "top_p": 1})


def report(**different):
    return list(describe(ONE, dataclasses.replace(OTHER, **different)))


def test_engines_that_agree_say_so_line_by_line():
    lines = report()
    assert lines[0] == "transformers 1 | vLLM 2"
    assert lines[-1] == "both agree"
    assert all(line.startswith("same") for line in lines[1:-1])


def test_a_prompt_without_bos_is_shown_with_the_tokens_around():
    lines = report(text="USER: hi", prompt=(Token(5, "USER"),))
    shown = "\n".join(lines)
    assert "from character 0 on" in shown
    assert "2 and 1; from token 0 on" in shown
    assert "1:'<s>' 5:'USER'" in shown
    assert lines[-1] == "the first difference: rendered prompt"


def test_an_answer_that_differs_is_shown_with_what_was_likely():
    lines = report(tokens=(DOG,))
    assert "    transformers 1  'cat' of 'cat' -0.1000 'dog' -2.5000" in lines
    assert "    vLLM 2          'dog' of 'dog' -0.1000 'cat' -2.5000" in lines
    assert lines[-1] == "the first difference: answer"


def test_two_tokens_that_are_equally_likely_are_no_difference():
    tie = token(7, "cat", (7, "cat", -0.1), (8, "dog", -0.1))
    assert agree(dataclasses.replace(ONE, tokens=(tie,)), dataclasses.replace(OTHER, tokens=(DOG,)))


def test_other_log_probabilities_are_a_difference():
    assert "DIFFERENT log probabilities: at most 4.0e-01 apart" in report(tokens=(CAT._replace(logprob=-0.5),))


def test_a_certain_token_is_compared_as_well():
    certain = CAT._replace(logprob=0.0)
    assert "DIFFERENT log probabilities: at most 1.0e-01 apart" in report(tokens=(certain,))


def test_sampling_that_differs_is_shown():
    lines = report(sampling={"temperature": 0.7, "stop": None})
    assert "    vLLM 2          temperature=0.7" in lines


def test_images_are_compared_by_their_values_and_not_by_how_they_are_batched():
    split = summarize(list(torch.arange(48.0).reshape(3, 4, 4)))
    assert agree(ONE, dataclasses.replace(OTHER, tensors={"pixel_values": split}))
    brighter = summarize([torch.arange(48.0) * 1.1])
    assert "DIFFERENT images, pixel_values" in report(tensors={"pixel_values": brighter})


def test_a_grid_is_shown_and_compared_as_it_is():
    grid, other = summarize([torch.tensor([1, 2, 3])]), summarize([torch.tensor([1, 3, 2])])
    assert str(grid) == "[3]: 1, 2, 3"
    assert not grid.is_close(other)


def test_an_engine_is_asked_greedily_whatever_the_request_says():
    engine = FakeEngine(replies=["a", "b"])
    payload = ask("hi ", data_url(2, 3), temperature=1, n=3, stream=True)
    made = with_service(lambda service: answer(service, engine, payload, name="fake"), engine)
    assert "".join(token.text for token in made.tokens) == "ab"
    (prompt,) = engine.seen
    assert (prompt.parameters["temperature"], prompt.parameters["n"], prompt.stream) == (0, 1, False)
    assert prompt.parameters["max_tokens"] == 32


def run(tmp_path, *engines, payload):
    with options_of(HF_MODEL_ID=str(tmp_path)) as options:
        checked = CheckedMachine(inspect(), locate_model(options))
        factories = [(f"engine {number}", FakeFactory(engine)) for number, engine in enumerate(engines)]
        return asyncio.run(compare(options, checked, factories, payload))


@pytest.mark.parametrize(("reply", "code"), [("a", SAME), ("another", DIFFERENT)])
def test_the_exit_code_is_that_of_diff(tmp_path, capsys, reply, code):
    (tmp_path / "config.json").write_text("{}")
    one, other = (FakeEngine(replies=[text], unscripted=frozenset({"warm-up"})) for text in ("a", reply))
    assert run(tmp_path, one, other, payload=ask("hi")) == code
    assert capsys.readouterr().out.startswith("engine 0 | engine 1\n")
    assert one.stopped
    assert other.stopped


def test_a_request_that_is_refused_is_trouble(tmp_path, capsys):
    (tmp_path / "config.json").write_text("{}")
    assert run(tmp_path, FakeEngine(), FakeEngine(), payload={"messages": []}) == FAILED
    assert "messages" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "fault"), [("{", "not JSON"), ("[]", "not a JSON object"), (None, "cannot be read")])
def test_a_file_that_holds_no_request_is_refused_in_words(tmp_path, text, fault):
    file = tmp_path / "request.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(StartError, match=fault):
        read_request(str(file))


def test_a_request_is_read_from_a_file(tmp_path):
    file = tmp_path / "request.json"
    file.write_text(json.dumps(ask("hi")))
    assert read_request(str(file)) == ask("hi")
