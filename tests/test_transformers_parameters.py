import pytest

from handler.engine import ChatPrompt, TextPrompt
from handler.engines.transformers.parameters import CHAT_PARAMETERS, REFUSED, TEXT_PARAMETERS, read_sampling
from handler.errors import InvalidRequest


def chat(**parameters):
    return read_sampling(ChatPrompt(messages=[], request_id="1", parameters=parameters), {})


def text(**parameters):
    return read_sampling(TextPrompt(texts=[], request_id="1", parameters=parameters), {})


def test_fields_become_the_sampling():
    sampling = chat(temperature=0.5, top_p=0.9, top_k=-1, seed=7, stop="a", logit_bias={"3": -100}, n=2, max_tokens=5.0)
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.seed) == (0.5, 0.9, 0, 7)
    assert (sampling.stop, sampling.logit_bias, sampling.n, sampling.max_tokens) == (("a",), {3: -100.0}, 2, 5)


def test_the_newer_name_of_max_tokens_wins():
    assert chat(max_tokens=5, max_completion_tokens=6).max_tokens == 6


def test_a_chat_may_fill_the_context_and_a_text_has_16_tokens():
    assert chat().max_tokens is None
    assert text().max_tokens == 16


def test_a_length_with_the_prompt_takes_the_place_of_16_tokens():
    sampling = text(max_length=50)
    assert (sampling.max_tokens, sampling.max_length) == (None, 50)


def test_logprobs_are_a_flag_in_chats_and_a_number_in_texts():
    assert chat(logprobs=True, top_logprobs=3).logprobs == 3
    assert chat(logprobs=True).logprobs == 0
    assert chat(logprobs=False).logprobs is None
    assert text(logprobs=2).logprobs == 2


def test_the_model_has_defaults_that_a_request_overrides():
    defaults = {"temperature": 0.6, "top_p": 0.9, "seed": 3}
    prompt = ChatPrompt(messages=[], request_id="1", parameters={"temperature": 0})
    sampling = read_sampling(prompt, defaults)
    assert (sampling.temperature, sampling.top_p, sampling.seed) == (0, 0.9, 3)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", "warm"),
        ("temperature", True),
        ("top_p", 0),
        ("top_p", float("nan")),
        ("top_k", -2),
        ("top_k", 1.5),
        ("min_p", 2),
        ("repetition_penalty", 0),
        ("repetition_penalty", 1e-38),
        ("temperature", 10**400),
        ("logit_bias", {"9" * 5000: 1}),
        ("n", 0),
        ("n", 1000),
        ("max_tokens", 0),
        ("min_tokens", -1),
        ("seed", 2**70),
        ("ignore_eos", "yes"),
        ("stop", [""]),
        ("stop", 5),
        ("stop", ["x"] * 17),
        ("stop_token_ids", ["1"]),
        ("logit_bias", [1]),
        ("logit_bias", {"a": 1}),
        ("top_logprobs", 21),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_its_name(name, value):
    with pytest.raises(InvalidRequest) as refusal:
        chat(**{name: value})
    assert refusal.value.param.split(".")[0] == name
    assert name in str(refusal.value)


def test_a_bias_beyond_its_range_is_refused_by_its_path():
    with pytest.raises(InvalidRequest) as refusal:
        chat(logit_bias={"5": 101})
    assert refusal.value.param == "logit_bias.5"


@pytest.mark.parametrize("parameters", [{"min_tokens": 5, "max_tokens": 4}, {"top_logprobs": 2}])
def test_fields_that_contradict_each_other_are_refused(parameters):
    with pytest.raises(InvalidRequest, match=next(iter(parameters))):
        chat(**parameters)


@pytest.mark.parametrize(
    ("name", "value"),
    [("tools", [{"type": "function"}]), ("response_format", {"type": "json_object"}), ("frequency_penalty", 0.5)],
)
def test_what_only_vllm_does_is_refused_and_not_ignored(name, value):
    with pytest.raises(InvalidRequest, match="transformers runs and not vLLM") as refusal:
        chat(**{name: value})
    assert refusal.value.param == name


def test_a_value_that_asks_for_nothing_passes():
    asked = {name: neutral[0] for name, neutral in REFUSED.items() if neutral}
    assert chat(**asked, user="me", stream_options={"include_usage": True}) == chat()


def test_the_engine_knows_every_field_that_it_refuses():
    # A field that it did not know would be reported as ignored, and the answer would be another than was asked for.
    assert set(REFUSED) <= CHAT_PARAMETERS
    assert {"best_of", "echo", "guided_json"} <= TEXT_PARAMETERS
