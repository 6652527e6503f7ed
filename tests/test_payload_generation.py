import pytest

from handler.errors import InvalidRequest
from handler.payload.generation import DEFAULT_NEW_TOKENS, MAX_INPUTS, parameter_path, parse_generation_request
from handler.payload.requests import ResponseFields

KNOWN = frozenset(
    {
        "max_tokens",
        "temperature",
        "top_p",
        "stop",
        "seed",
        "n",
        "stop_token_ids",
        "logprobs",
        "prompt",
        "use_beam_search",
    }
)
URL = "data:image/png;base64,AA=="


def read(inputs="hi", parameters=None, **fields):
    return parse_generation_request({"inputs": inputs, "parameters": parameters or {}, **fields}, KNOWN)


def parameters(**given):
    return read(parameters=given).completions[0].parameters


def refused(inputs="hi", parameters=None, **fields):
    with pytest.raises(InvalidRequest) as refusal:
        read(inputs, parameters, **fields)
    return refusal.value


def test_lmis_default_is_thirty_tokens():
    assert parse_generation_request({"inputs": "hi"}, KNOWN).completions[0].parameters == {
        "max_tokens": DEFAULT_NEW_TOKENS
    }


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"max_new_tokens": 5}, {"max_tokens": 5}),
        ({"min_new_tokens": 2}, {"min_tokens": 2}),
        ({"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9}),
        ({"do_sample": False, "temperature": 0.5}, {"temperature": 0.0}),
        ({"do_sample": True, "temperature": 0.5}, {"temperature": 0.5}),
        ({"stop_sequences": ["a"], "stop": "b"}, {"stop": ["b", "a"]}),
        ({"ignore_eos_token": True}, {"ignore_eos": True}),
        ({"eos_token_id": 7, "stop_token_ids": [8]}, {"stop_token_ids": [8, 7]}),
        ({"truncate": 4}, {"truncate_prompt_tokens": 4, "truncation_side": "left"}),
        ({"details": True}, {"logprobs": 0}),
        ({"details": True, "top_n_tokens": 3}, {"logprobs": 3}),
        ({"details": True, "decoder_input_details": True}, {"logprobs": 0, "prompt_logprobs": 0}),
        ({"best_of": 2}, {"n": 2, "logprobs": 0}),
        ({"best_of": 2, "use_beam_search": False}, {"use_beam_search": False, "n": 2, "logprobs": 0}),
        ({"num_beams": 3}, {"use_beam_search": True, "n": 3}),
        ({"grammar": {"type": "regex", "value": "a+"}}, {"structured_outputs": {"regex": "a+"}}),
        ({"details": True, "top_n_tokens": 3.0, "logprobs": 5}, {"logprobs": 5}),
        ({"return_full_text": True, "typical_p": 1.0, "n": 1}, {}),
    ],
)
def test_parameters_take_the_names_and_senses_that_vllm_has(given, meant):
    assert parameters(**given) == {"max_tokens": DEFAULT_NEW_TOKENS, **meant}


def test_what_lmi_ignores_is_ignored_and_named():
    request = read(parameters={"watermark": True, "max_length": 5})
    assert request.ignored == ("parameters.max_length", "parameters.watermark")
    assert request.completions[0].parameters == {"max_tokens": DEFAULT_NEW_TOKENS}


def test_the_length_of_prompt_and_answer_holds_where_the_engine_knows_it():
    known = KNOWN | {"max_length"}
    asked = {"inputs": "a", "parameters": {"max_length": 50}}
    request = parse_generation_request(asked, known)
    assert (request.completions[0].parameters, request.ignored) == ({"max_length": 50}, ())
    asked["parameters"]["max_new_tokens"] = 5
    request = parse_generation_request(asked, known)
    assert (request.completions[0].parameters, request.ignored) == ({"max_tokens": 5}, ("parameters.max_length",))


def test_a_stream_has_the_log_probability_of_each_token():
    assert read(stream=True).completions[0].parameters["logprobs"] == 0


def test_each_input_of_a_list_is_a_completion_of_its_own():
    request = read(["a", {"prompt": "b", "images": [URL]}])
    assert request.is_list
    assert [completion.texts[0].text for completion in request.completions] == ["a", "b"]
    assert [len(list(completion.images())) for completion in request.completions] == [0, 1]


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": {"prompt": "a", "images": [URL]}},
        {"inputs": {"text": "a", "image": URL}},
        {"inputs": {"prompt": "a", "multi_modal_data": {"image": URL}}},
        {"inputs": "a", "images": [URL]},
    ],
)
def test_an_input_may_have_images(body):
    (completion,) = parse_generation_request(body, KNOWN).completions
    assert [image.url for image in completion.images()] == [URL]
    assert completion.texts[0].text == "a"


@pytest.mark.parametrize(
    ("inputs", "parameters", "fields", "param"),
    [
        (None, {}, {}, "inputs"),
        ([], {}, {}, "inputs"),
        (["a"] * (MAX_INPUTS + 1), {}, {}, "inputs"),
        ({"images": [URL]}, {}, {}, "inputs.prompt"),
        (["a", 3], {}, {}, "inputs[1]"),
        (["a"], {}, {"images": [URL]}, "images[0]"),
        (["a", "b"], {}, {"stream": True}, "inputs"),
        ("a", {"details": "yes"}, {}, "parameters.details"),
        ("a", {"best_of": 0}, {}, "parameters.best_of"),
        ("a", {"best_of": True}, {}, "parameters.best_of"),
        ("a", {"best_of": 2}, {"stream": True}, "parameters.best_of"),
        ("a", {"best_of": 2, "use_beam_search": True}, {}, "parameters.best_of"),
        ("a", {"best_of": 2, "num_beams": 2}, {}, "parameters.best_of"),
        ("a", {"n": 2}, {}, "parameters.n"),
        ("a", {"typical_p": 0.5}, {}, "parameters.typical_p"),
        ("a", {"max_new_token": 5}, {}, "parameters.max_new_token"),
        ("a", {"stop": [1]}, {}, "parameters.stop"),
        ("a", {"grammar": {"type": "ebnf", "value": ""}}, {}, "parameters.grammar"),
        ("a", {"prompt": "b"}, {}, None),
        ("a", {}, {"prompt": "b"}, "prompt"),
    ],
)
def test_a_fault_is_named_by_its_path(inputs, parameters, fields, param):
    if param is None:  # a field of another schema has no meaning here, and that is told
        assert read(inputs, parameters, **fields).ignored == ("parameters.prompt",)
    else:
        assert refused(inputs, parameters, **fields).param == param


def test_what_the_engine_says_of_a_parameter_is_told_by_the_clients_name():
    assert parameter_path("max_tokens", ResponseFields()) == "parameters.max_new_tokens"
    assert parameter_path("n", ResponseFields()) == "parameters.best_of"
    assert parameter_path("logprobs", ResponseFields()) == "parameters.logprobs"
    assert parameter_path("logprobs", ResponseFields(top_tokens=2)) == "parameters.top_n_tokens"
    assert parameter_path("top_p", ResponseFields()) == "parameters.top_p"
    assert parameter_path("structured_outputs.json", ResponseFields()) == "parameters.grammar"
    assert parameter_path(None, ResponseFields()) is None


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("do_sample", {"do_sample": "false"}),
        ("do_sample", {"do_sample": 0}),
        ("stream", {"stream": "yes"}),
        ("logprobs", {"logprobs": "x", "details": True}),
        ("logprobs", {"logprobs": True, "details": True}),
        ("stop_token_ids", {"stop_token_ids": 5, "eos_token_id": 2}),
        ("seed", {"seed": 1.5}),
        ("best_of", {"best_of": 2.5}),
        ("grammar.type", {"grammar": {}}),
    ],
)
def test_a_parameter_of_the_wrong_kind_is_refused_and_never_guessed_at(name, given):
    assert refused(parameters=given).param == f"parameters.{name}"


def test_stream_may_stand_among_the_parameters_and_must_not_contradict():
    assert read(parameters={"stream": True}).stream
    agreeing = read(parameters={"stream": True}, stream=True)
    assert agreeing.stream
    assert agreeing.ignored == ()
    assert refused(parameters={"stream": True}, stream=False).param == "parameters.stream"


def test_a_list_of_one_input_can_stream():
    assert read(["hi"], stream=True).stream


def test_an_empty_list_of_adapters_chooses_none():
    assert read(adapters=[]).completions[0].adapter is None
