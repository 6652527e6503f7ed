"""End to end: the real engine, the model that ships, real HTTP, real clients. Chat completions."""

import base64
import io
import json
import re
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest

from demo.images import COLORS, SHAPES
from handler.checkpoint.memory import kv_cache
from tests.drawn import encode_image, image, post, url
from tests.http_server import Response, http_server
from tests.live import MODEL
from tests.serving import answer, ask, fault, wait_for

pytestmark = pytest.mark.engine

PATHS = ["/invocations", "/v1/chat/completions"]
ONE = "What is in the image?"
ALL = "What is in the images?"


@pytest.fixture(scope="module")
def client(live):
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def images():
    """A web server with one image, a page, and a redirect to a forbidden address."""
    responses = {
        "/star.png": Response(200, encode_image("green", "star"), {"content-type": "image/png"}),
        "/page": Response(200, b"<html>", {"content-type": "text/html"}),
        "/inside": Response(302, headers={"location": "http://127.0.0.2:1/star.png"}),
    }
    with http_server(lambda request: responses.get(request.path, Response(404))) as url:
        yield url


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("color", "shape"), [("red", "circle"), ("blue", "square"), ("green", "star")])
def test_the_answer_comes_from_the_image(live, path, color, shape):
    assert answer(post(live, ask(ONE, url(color, shape)), path)) == f"a {color} {shape}"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_every_format_is_seen(live, kind):
    assert answer(post(live, ask(ONE, url("red", "square", kind)))) == "a red square"


def test_the_order_of_two_images_decides(live):
    red, blue = url("red", "circle"), url("blue", "square")
    assert answer(post(live, ask(ALL, red, blue))) == "the first shows a red circle, the second a blue square"
    assert answer(post(live, ask(ALL, blue, red))) == "the first shows a blue square, the second a red circle"


def test_four_images_are_told_apart(live):
    four = [url("red", "circle"), url("blue", "square"), url("green", "star"), url("yellow", "triangle")]
    assert answer(post(live, ask(ALL, *four))) == (
        "the first shows a red circle, the second a blue square, the third a green star, the fourth a yellow triangle"
    )


def test_an_image_of_an_earlier_turn_is_still_seen(live):
    turns = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": [image("red", "circle"), {"type": "text", "text": ONE}]},
        {"role": "assistant", "content": "a red circle"},
        {"role": "user", "content": "What color is it?"},
    ]
    assert answer(post(live, {"messages": turns})) == "red"


def test_a_typed_placeholder_is_text_and_disturbs_nothing(live):
    for typed in (["<image> " + ONE], ["<ima", "ge> " + ONE]):
        response = post(live, ask(*typed, url("red", "circle")))
        usage = response.json()["usage"]["prompt_tokens_details"]
        assert usage["multimodal_tokens"] == {"image": 16}
        assert answer(response) == "a red circle"
    assert post(live, ask("<image>" * 50)).status_code == 200


def test_text_alone_is_answered(live):
    assert answer(post(live, ask("Count to 5."))) == "one two three four five"


def test_the_openai_client_plain_and_streamed(client):
    messages = ask(ONE, url("red", "circle"))["messages"]
    plain = client.chat.completions.create(model="lumi-demo", messages=messages, temperature=0)
    assert plain.choices[0].message.content == "a red circle"
    assert plain.choices[0].finish_reason == "stop"
    stream = client.chat.completions.create(
        model="lumi-demo", messages=messages, temperature=0, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "a red circle"
    assert chunks[-1].usage.total_tokens == plain.usage.total_tokens


def test_the_openai_client_lists_the_model(client):
    assert client.models.list().data[0].id == "lumi-demo"


def test_the_openai_client_sees_its_own_errors(client):
    messages = ask("hi")["messages"]
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="gpt-4", messages=messages)
    with pytest.raises(openai.BadRequestError) as refusal:
        client.chat.completions.create(model="lumi-demo", messages=ask("a", "data:image/png;base64,!!")["messages"])
    assert refusal.value.param == "messages[0].content[1].image_url.url"


def test_a_stream_joined_is_the_plain_answer_on_both_routes(live):
    body = ask("Count to 20.")
    plain = answer(post(live, body))
    for path in PATHS:
        response = post(live, {**body, "stream": True}, path)
        lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line]
        chunks = [json.loads(line) for line in lines if line != "[DONE]"]
        assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks) == plain
        assert len(chunks) > 10
        assert (lines[-1] == "[DONE]") == path.startswith("/v1")


def test_sampling_parameters_reach_the_model(live):
    body = ask("Count to 9.")
    assert answer(post(live, {**body, "max_tokens": 1})) == "one"
    cut = post(live, {**body, "stop": [" three"]}).json()["choices"][0]
    assert (cut["message"]["content"], cut["finish_reason"]) == ("one two", "stop")
    assert len(post(live, {**body, "n": 3, "temperature": 1, "seed": 1}).json()["choices"]) == 3
    scored = post(live, {**body, "logprobs": True, "top_logprobs": 2}).json()["choices"][0]["logprobs"]["content"]
    assert len(scored[0]["top_logprobs"]) == 2
    length = post(live, {**body, "max_tokens": 2}).json()["choices"][0]
    assert length["finish_reason"] == "length"


def test_structured_output_binds_the_answer(live):
    schema = {"type": "object", "properties": {"color": {"enum": ["red", "blue"]}}, "required": ["color"]}
    form = {"type": "json_schema", "json_schema": {"name": "seen", "schema": schema}}
    text = answer(post(live, {**ask(ONE, url("red", "circle")), "response_format": form}))
    assert json.loads(text)["color"] in ("red", "blue")
    assert answer(post(live, {**ask(ONE, url("red", "circle")), "guided_choice": ["yes", "no"]})) in ("yes", "no")


def test_a_tool_that_must_be_called_is_called(client):
    parameters = {"type": "object", "properties": {"color": {"enum": ["red", "blue"]}}, "required": ["color"]}
    tool = {"type": "function", "function": {"name": "report", "strict": True, "parameters": parameters}}
    messages = ask(ONE, url("red", "circle"))["messages"]
    completion = client.chat.completions.create(
        model="lumi-demo",
        messages=messages,
        tools=[tool],
        tool_choice={"type": "function", "function": {"name": "report"}},
        temperature=0,
    )
    call = completion.choices[0].message.tool_calls[0]
    assert call.function.name == "report"
    assert json.loads(call.function.arguments) == {"color": "red"}
    messages += [
        {"role": "assistant", "tool_calls": [call.model_dump()]},
        {"role": "tool", "tool_call_id": call.id, "content": "noted"},
    ]
    again = client.chat.completions.create(model="lumi-demo", messages=messages, max_tokens=5)
    assert again.choices[0].message.role == "assistant"


def test_an_image_from_a_server_that_is_allowed(live, images):
    assert answer(post(live, ask(ONE, f"{images}/star.png"))) == "a green star"


def test_addresses_that_are_not_allowed_are_refused(live, images):
    for address in (
        "http://127.0.0.2:1/x.png",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]/x.png",
        f"{images}/inside",
    ):
        refused = fault(post(live, ask(ONE, address)))
        assert refused["code"] == "media_forbidden", address
        assert refused["param"] == "messages[0].content[1].image_url.url"


def test_32_at_once_are_each_answered_about_their_own_image(live):
    cases = [(color, shape) for color in COLORS for shape in SHAPES][:32]

    def one(case):
        return answer(post(live, ask(ONE, url(*case))))

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(one, cases))
    right = [f"{'an' if color[0] in 'aeiou' else 'a'} {color} {shape}" for color, shape in cases]
    assert sum(given == wanted for given, wanted in zip(answers, right, strict=True)) >= 31


def test_a_repeated_image_is_found_in_the_cache_of_the_engine(live):
    body = ask(ONE, url("purple", "ring", size=(300, 300)))
    first, hits = answer(post(live, body)), live.metric("vllm:mm_cache_hits_total")
    assert answer(post(live, body)) == first
    wait_for(lambda: live.metric("vllm:mm_cache_hits_total") > hits)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_aborts_in_the_engine(live, stream):
    generated = live.metric("vllm:generation_tokens_total")
    body = {**ask("hi"), "max_tokens": 1900, "ignore_eos": True, "stream": stream}
    target = f"{live.url}/v1/chat/completions"
    if stream:
        with httpx.stream("POST", target, json=body) as response:
            next(response.iter_lines())
    else:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(target, json=body, timeout=httpx.Timeout(10, read=0.4))
    wait_for(lambda: live.metric("vllm:num_requests_running") == 0)
    assert live.metric("vllm:generation_tokens_total") - generated < 1900
    assert answer(post(live, ask("Count to 2."))) == "one two"


def _bad(parameters, param):
    return pytest.param({**ask("hi"), **parameters}, param, id=str(parameters)[:30])


@pytest.mark.parametrize(
    ("body", "param"),
    [
        _bad({"temperature": -1}, "temperature"),
        _bad({"temperature": "hot"}, "temperature"),
        _bad({"top_p": 7}, "top_p"),
        _bad({"n": 0}, "n"),
        _bad({"n": 1000}, "n"),
        _bad({"min_tokens": -1}, "min_tokens"),
        _bad({"repetition_penalty": -1}, "repetition_penalty"),
        _bad({"chat_template": "{{ 1 }}"}, None),
        _bad({"max_tokens": 0}, "max_tokens"),
        _bad({"max_tokens": 99999}, "max_tokens"),
        _bad({"seed": "x"}, "seed"),
        _bad({"stop": 5}, "stop"),
        _bad({"logit_bias": {"a": 1}}, "logit_bias"),
        _bad({"stream_options": {"include_usage": True}}, "stream_options"),
        _bad({"response_format": {"type": "xml"}}, "response_format.type"),
        _bad({"tools": [{"type": "function"}]}, "tools[0].function"),
        pytest.param(ask("hi", "data:image/png;base64,AAAA"), "messages[0].content[1].image_url.url", id="no image"),
        pytest.param(ask("hi", "data:image/png;base64,A"), "messages[0].content[1].image_url.url", id="bad base64"),
        pytest.param(ask("hi", "data:image/png,AAAA"), "messages[0].content[1].image_url.url", id="not base64"),
        pytest.param(
            ask("hi", {"type": "image_url", "image_url": "ftp://a/b"}), "messages[0].content[1].image_url", id="scheme"
        ),
        pytest.param(ask(*[url("red", "circle")] * 5), "messages[0].content[4].image_url.url", id="too many"),
    ],
)
@pytest.mark.parametrize("path", PATHS)
def test_bad_input_gets_a_sentence_and_the_path_and_harms_nothing(live, path, body, param):
    for stream in (False, True):
        if stream and "stream_options" in body:
            continue
        response = live.client.post(path, json={**body, "stream": stream})
        assert response.status_code == 400, response.text
        error = fault(response)
        assert error["param"] == param
        assert error["type"] == "invalid_request_error"
        assert len(error["message"]) > 20


def test_an_image_with_too_many_pixels_or_a_cut_end_is_refused(live):
    file = io.BytesIO()
    from PIL import Image

    Image.new("1", (8000, 8000)).save(file, "PNG")
    bomb = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    assert fault(post(live, ask(ONE, bomb)))["code"] == "media_too_large"
    whole = encode_image("red", "circle", "JPEG")
    cut = f"data:image/jpeg;base64,{base64.b64encode(whole[: len(whole) // 2]).decode()}"
    assert fault(post(live, ask(ONE, cut)))["code"] == "media_invalid"


def test_a_context_that_is_too_long_is_refused_in_words(live):
    response = post(live, ask("word " * 20000))
    assert response.status_code == 400
    assert "context" in fault(response)["message"] or "length" in fault(response)["message"]


def test_an_unreachable_image_is_422(live, images):
    for address in (f"{images}/nothing", "http://127.0.0.1:1/x.png"):
        response = post(live, ask(ONE, address))
        assert response.status_code == 422
        assert fault(response)["code"] == "media_unreachable"
    assert fault(post(live, ask(ONE, f"{images}/page")))["code"] == "media_invalid"


def test_metrics_are_vllms_and_ours(live):
    assert live.metric("vllm:prompt_tokens_total") > 0
    assert live.metric("lumi_requests_total") > 0
    assert live.metric("lumi_requests_in_flight") == 0


def test_the_cache_has_as_many_tokens_as_check_says(live):
    (info,) = re.findall(r"^vllm:cache_config_info\{(.*)\}", live.client.get("/metrics").text, re.MULTILINE)
    facts = dict(re.findall(r'(\w+)="([^"]*)"', info))
    config = json.loads((MODEL / "config.json").read_text())
    size = int(facts["kv_cache_memory_bytes"])
    cached = kv_cache(config, element_bytes=4)  # demo/model computes in float32
    block = cached.token_bytes * int(facts["block_size"])
    assert int(facts["num_gpu_blocks"]) == size // block


def test_the_log_has_a_line_of_json_for_each_request(live):
    post(live, ask("hi"), **{"x-request-id": "find-me"})
    wait_for(lambda: "find-me" in live.log())  # the line is written after the answer
    line = next(line for line in live.log().splitlines() if "find-me" in line)
    entry = json.loads(line)
    assert (entry["status"], entry["path"], entry["client_id"]) == (200, "/invocations", "find-me")


def test_the_model_that_ships_is_the_one_that_is_tested():
    assert (MODEL / "serving.properties").exists()
