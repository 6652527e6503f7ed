"""No request may make the engine fail: parameters drawn from vLLM's own schemas, and those that once did."""

import json

import pytest
from hypothesis import HealthCheck, given, settings

from tests.drawn import image, post
from tests.serving import answer, ask, fault

pytestmark = pytest.mark.engine

# The same requests in every run: a failure is a change of ours.
DRAWN = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
HUGE = 2**70
DEEP = "[" * 3000 + "]" * 3000


def chat(*images, **parameters):
    return {
        "messages": [{"role": "user", "content": [*images, {"type": "text", "text": "What is in the image?"}]}],
        "max_tokens": 4,
        **parameters,
    }


def called(arguments):
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}
    return [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": "x"},
    ]


def check(live, path, body):
    response = live.client.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
    assert response.status_code in (200, 400), response.text
    if response.status_code == 400:
        assert fault(response)["message"]
    elif body.get("stream"):
        assert "engine_failure" not in response.text


@pytest.mark.filterwarnings("default")  # torch's, when vLLM's schemas are imported
@pytest.mark.parametrize(
    ("path", "requests"), [("/v1/chat/completions", "CHATS"), ("/v1/completions", "TEXTS"), ("/invocations", "INPUTS")]
)
def test_no_drawn_parameters_make_the_engine_fail(live, path, requests):
    from tests import generated  # it imports vLLM

    @DRAWN
    @given(getattr(generated, requests))
    def run(body):
        check(live, path, body)

    run()
    assert (
        answer(post(live, ask("What is in the image?", image("red", "circle")["image_url"]["url"]))) == "a red circle"
    )


@pytest.mark.parametrize(
    ("parameters", "path"),
    [
        ({"stream_interval": HUGE}, "stream_interval"),
        ({"stream_interval": 10**400}, "stream_interval"),
        ({"stream_interval": HUGE, "stream": True}, "stream_interval"),
        (
            {"repetition_detection": {"max_pattern_size": HUGE, "min_count": 2}},
            "repetition_detection.max_pattern_size",
        ),
        ({"structured_outputs": {"json": {"minimum": HUGE}}}, "structured_outputs.json.minimum"),
        ({"structured_outputs": []}, "structured_outputs"),
        ({"structured_outputs": 5}, "structured_outputs"),
        ({"vllm_xargs": {"kv_transfer_params": "x"}}, "vllm_xargs.kv_transfer_params"),
        ({"use_beam_search": True, "n": 2, "length_penalty": -1e308}, "length_penalty"),
        ({"use_beam_search": True, "n": 2, "length_penalty": 1e308}, "length_penalty"),
        ({"messages": called(DEEP)}, "messages[1].tool_calls[0].function.arguments"),
        ({"messages": called('{"a":' * 900 + "1" + "}" * 900)}, "messages[1].tool_calls[0].function.arguments"),
    ],
)
def test_what_the_engine_would_fail_on_is_refused_with_its_path(live, parameters, path):
    response = post(live, chat(**parameters), "/v1/chat/completions")
    assert (response.status_code, fault(response)["param"]) == (400, path)


def test_an_image_that_a_truncation_cuts_off_fails_that_request_alone(live):
    green = image("green", "ring")
    response = post(live, chat(green, truncate_prompt_tokens=1), "/v1/chat/completions")
    assert (response.status_code, fault(response)["param"]) == (400, "truncate_prompt_tokens")
    # vLLM believes now that the engine core has this image.
    assert answer(post(live, chat(green), "/v1/chat/completions")) == "a green ring"


def test_a_stream_about_an_image_that_another_request_failed_on_is_answered(live):
    green = image("yellow", "ring")
    assert post(live, chat(green, truncate_prompt_tokens=1), "/v1/chat/completions").status_code == 400
    text = post(live, chat(green, stream=True), "/v1/chat/completions").text
    assert "engine_failure" not in text
    assert text.rstrip().endswith("[DONE]")
