"""Every schema and route but chat completions', through the real server."""

import asyncio
import hashlib
import io
import json
import threading

import pytest
from PIL import Image

from container.http.inference import Serving
from handler.engines.fake import FakeEngine
from handler.errors import EngineFailure
from tests.leaks import API_KEY
from tests.serving import answer, ask, data_url, fault, serving, wait_for

PROMPT_ROUTES = [
    "/invocations",
    "/predictions/any",
    "/predictions/any/0.1",
    "/models/model/invoke",
    "/models/fake/invoke",
]


@pytest.fixture(scope="module")
def served():
    with serving(environ={"OPTION_ENABLE_STATEFUL_SESSIONS": "true"}) as server:
        yield server


def png(width=4, height=3):
    file = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("path", PROMPT_ROUTES)
def test_the_body_decides_the_schema(served, path):
    assert answer(served.post(ask("hi"), path)) == "user: hi"
    assert served.post({"prompt": "hi"}, path).json()["choices"][0]["text"] == "hi"
    assert served.post({"inputs": "hi"}, path).json() == {"generated_text": "hi"}


def test_openais_completions_have_a_route_of_their_own(served):
    response = served.post({"prompt": "a <image>", "images": [data_url(2, 3)]}, "/v1/completions")
    assert response.json()["object"] == "text_completion"
    assert response.json()["choices"][0]["text"] == "a [2x3]"


def test_a_completion_streams_as_openais_do(served):
    response = served.post({"prompt": "hi", "stream": True}, "/v1/completions")
    assert response.headers["content-type"].startswith("text/event-stream")
    events = response.text.strip().split("\n\n")
    assert json.loads(events[0].removeprefix("data: "))["choices"][0]["text"] == "hi"
    assert events[-1] == "data: [DONE]"


def test_generation_streams_json_lines_or_events_as_asked(served):
    lines = served.post({"inputs": "hi", "stream": True})
    assert lines.headers["content-type"] == "application/jsonlines"
    (line,) = lines.text.splitlines()
    events = served.post({"inputs": "hi", "stream": True}, accept="text/event-stream")
    assert events.text.startswith("data: ")
    assert json.loads(line)["generated_text"] == "hi"


def test_tgi_compat_answers_as_tgi_does():
    settings = Serving(request_bytes=1 << 20, predict_seconds=10, tgi=True)
    with serving(serving=settings, environ={"OPTION_TGI_COMPAT": "true"}) as server:
        assert server.post({"inputs": "hi"}).json() == [{"generated_text": "hi"}]
        stream = server.post({"inputs": "hi", "stream": True})
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert json.loads(stream.text.removeprefix("data:"))["generated_text"] == "hi"
        assert "[DONE]" not in stream.text
        assert server.post(ask("hi", stream=True)).headers["content-type"] == "application/jsonlines"


def test_an_error_within_a_stream_of_tokens_travels_in_it():
    with serving(FakeEngine(replies=["a", "b"], error=EngineFailure("no"), error_after=True)) as server:
        lines = server.post({"inputs": "hi", "stream": True}).text.splitlines()
        assert json.loads(lines[0])["token"]["text"] == "a"
        assert json.loads(lines[-1])["error"]["message"] == "no"


@pytest.mark.parametrize(
    ("body", "content_type", "texts"),
    [
        (b"inputs\na\nb\n", "text/csv", ["a", "b"]),
        (b"a\nb", "text/plain", "a\nb"),
    ],
)
def test_lmis_other_encodings_are_read(served, body, content_type, texts):
    answered = served.client.post("/invocations", content=body, headers={"content-type": content_type}).json()
    listed = answered if isinstance(answered, list) else [answered]
    assert [one["generated_text"] for one in listed] == (texts if isinstance(texts, list) else [texts])


def test_an_image_as_it_is_is_asked_about(served):
    response = served.client.post(
        "/invocations?question=what", content=png(5, 6), headers={"content-type": "image/png"}
    )
    assert answer(response) == "user: [5x6]what"
    response = served.client.post(
        "/invocations", content=png(5, 6), headers={"content-type": "image/png", "x-lumi-question": "what"}
    )
    assert answer(response) == "user: [5x6]what"


def test_a_form_with_images_is_asked_about(served):
    files = [("a", ("a.png", png(1, 2))), ("b", ("b.png", png(3, 4)))]
    assert answer(served.client.post("/invocations", data={"question": "hm"}, files=files)) == "user: [1x2][3x4]hm"


def test_what_is_no_image_in_a_form_is_named(served):
    response = served.client.post("/invocations", data={"question": "hm"}, files={"a": ("a.png", b"no")})
    assert response.status_code == 400
    assert fault(response)["param"] == "messages[0].content[0].image_url.url"


def test_an_error_is_lmis_on_the_routes_that_lmi_has():
    settings = Serving(request_bytes=1 << 20, predict_seconds=10, lmi_errors=True)
    with serving(serving=settings) as server:
        for path in PROMPT_ROUTES:
            response = server.post({"inputs": 3}, path)
            assert response.status_code == 424
            assert response.json() == {
                "error": fault(server.post({"inputs": 3}, "/v1/completions"))["message"],
                "code": 424,
            }
        assert server.post({"prompt": 3}, "/v1/completions").status_code == 400


@pytest.mark.parametrize("headers", [{"x-synchronous": "false"}, {"x-starting-token": "df87d942"}])
def test_lmis_cache_of_responses_is_refused_in_words(served, headers):
    response = served.post({"inputs": "hi"}, **headers)
    assert (response.status_code, fault(response)["param"]) == (400, "x-synchronous")
    assert served.post({"inputs": "hi"}, **{"x-synchronous": "true"}).status_code == 200


def test_a_session_keeps_its_images(served):
    opened = served.post({"requestType": "NEW_SESSION"})
    name = {"x-amzn-sagemaker-session-id": opened.headers["x-amzn-sagemaker-session-id"]}
    again = "sha256:" + hashlib.sha256(png(7, 8)).hexdigest()
    image = {"type": "image_url", "image_url": {"url": again}}
    assert fault(served.post(ask(image), **name))["code"] == "media_not_in_session"
    assert answer(served.post(ask(data_url(7, 8)), **name)) == "user: [7x8]"
    assert answer(served.post(ask(image, "again"), **name)) == "user: [7x8]again"
    assert served.post({"inputs": {"prompt": "p", "images": [again]}}, **name).json()["generated_text"] == "[7x8]\np"
    closed = served.post({"requestType": "CLOSE"}, **name)
    assert closed.headers["x-amzn-sagemaker-closed-session-id"] == opened.json()["sessionId"]
    assert fault(served.post(ask("hi"), **name))["code"] == "session_not_found"


def test_tokens_are_counted_with_their_images(served):
    told = served.post(ask("hi ", data_url(2, 3)), "/tokenize").json()
    assert told["count"] == len(told["tokens"]) == len("user: hi [2x3]")
    assert served.post({"tokens": told["tokens"]}, "/detokenize").json() == {"prompt": "user: hi [2x3]"}
    assert served.post({"prompt": "hi", "return_token_strs": False}, "/tokenize").json()["count"] == 2


class Characters:
    """A tokenizer of characters, as the scripted engine has them."""

    def convert_ids_to_tokens(self, ids):
        return [chr(token) for token in ids]


def test_the_strings_of_tokens_are_told_if_asked_for():
    with serving(FakeEngine(tokenizer=Characters())) as server:
        told = server.post({"prompt": "hi", "return_token_strs": True}, "/tokenize").json()
        assert told["token_strs"] == ["h", "i"]
        assert server.post({"prompt": "hi"}, "/tokenize").json()["token_strs"] is None


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"prompt": 3}, "prompt"),
        ("/detokenize", {}, "tokens"),
        ("/detokenize", {"tokens": [1, -1]}, "tokens[1]"),
        ("/tokenize", {"prompt": "a", "return_token_strs": "yes"}, "return_token_strs"),
        ("/detokenize", {"tokens": [True]}, "tokens[0]"),
        ("/detokenize", {"tokens": [10**30]}, "tokens[0]"),
    ],
)
def test_a_faulty_count_is_named_by_its_path(served, path, body, param):
    response = served.post(body, path)
    assert response.status_code == 400
    assert fault(response)["param"] == param


@pytest.mark.parametrize("path", ["/models/other", "/models/other/invoke", "/v1/models/other"])
def test_a_model_that_is_not_served_is_404(served, path):
    response = served.post(ask("hi"), path) if path.endswith("invoke") else served.client.get(path)
    assert response.status_code == 404
    assert fault(response)["code"] == "model_not_found"


def test_the_model_is_described_as_each_client_asks(served):
    assert [one["id"] for one in served.client.get("/v1/models").json()["data"]] == ["fake"]
    assert served.client.get("/v1/models/fake").json()["id"] == "fake"
    (listed,) = served.client.get("/models").json()["models"]
    assert (listed["modelName"], listed["status"]) == ("fake", "READY")
    (workflow,) = served.client.get("/models/model").json()
    (model,) = workflow["models"]
    assert (workflow["workflowName"], model["status"], model["requestInQueue"]) == ("model", "Healthy", 0)
    (group,) = model["workerGroups"]
    assert [worker["status"] for worker in group["workers"]] == ["READY"]


def test_a_models_description_has_vllms_fields(served):
    (model,) = served.client.get("/v1/models").json()["data"]
    assert set(model) == {"id", "object", "created", "owned_by", "root", "parent", "max_model_len", "permission"}
    (permission,) = model["permission"]
    assert (permission["object"], permission["allow_sampling"]) == ("model_permission", True)


def test_what_vllm_and_lmi_tell_of_the_server_is_told(served):
    assert served.client.get("/version").json() == {"version": "1.0"}
    assert served.client.get("/load").json() == {"server_load": 0}
    shown = served.client.get("/server/metrics?name[]=lumi_requests_limit&name[]=lumi_requests_queued").text
    names = {line.partition(" ")[0] for line in shown.splitlines() if not line.startswith("#")}
    assert names == {"lumi_requests_limit", "lumi_requests_queued"}
    assert "lumi_stored_bytes" in served.client.post("/server/metrics").text


def test_several_chats_are_answered_in_one_completion(served):
    chats = [ask("one", data_url(2, 3))["messages"], ask("two")["messages"]]
    completion = served.post({"messages": chats, "max_tokens": 5, "store": True}, "/v1/chat/completions/batch")
    assert completion.headers["x-lumi-ignored"] == "store"
    choices = completion.json()["choices"]
    assert [(choice["index"], choice["message"]["content"]) for choice in choices] == [
        (0, "user: one[2x3]"),
        (1, "user: two"),
    ]
    assert completion.json()["usage"]["prompt_tokens"] == sum(
        served.post({"messages": chat}, "/v1/chat/completions").json()["usage"]["prompt_tokens"] for chat in chats
    )


CHAT = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": CHAT}, "messages[0]"),
        ({"messages": [CHAT, []]}, "messages[1]"),
        ({"messages": [CHAT, [{"role": "user", "content": 3}]]}, "messages[1][0].content"),
        ({"messages": [CHAT], "stream": True}, "stream"),
        ({"messages": [CHAT], "n": 2}, "n"),
        ({"messages": [CHAT], "tools": [{}]}, "tools"),
        ({"messages": [CHAT], "use_beam_search": True}, "use_beam_search"),
        ({"messages": [CHAT] * 1001}, "messages"),
    ],
)
def test_a_faulty_batch_is_refused_with_the_path(served, body, param):
    response = served.post(body, "/v1/chat/completions/batch")
    assert (response.status_code, fault(response)["param"]) == (400, param)


def test_a_session_may_be_opened_by_the_first_request_of_it(served):
    image = data_url(7, 9)
    first = served.post(ask(image), **{"x-amzn-sagemaker-session-id": "NEW_SESSION"})
    assert answer(first) == "user: [7x9]"
    name = {"x-amzn-sagemaker-session-id": first.headers["x-amzn-sagemaker-new-session-id"]}
    again = {"type": "image_url", "image_url": {"url": "sha256:" + hashlib.sha256(png(7, 9)).hexdigest()}}
    assert answer(served.post(ask(again, "again"), **name)) == "user: [7x9]again"
    refused = served.post({"messages": []}, **{"x-amzn-sagemaker-session-id": "NEW_SESSION"})
    assert refused.status_code == 400
    assert "x-amzn-sagemaker-new-session-id" not in refused.headers


def test_a_batch_transform_is_told_what_to_send(served):
    told = served.client.get("/execution-parameters").json()
    assert told["BatchStrategy"] == "SINGLE_RECORD"
    assert told["MaxConcurrentTransforms"] * told["MaxPayloadInMB"] <= 100


def test_metrics_name_routes_and_not_paths(served):
    served.post({"inputs": "hi"}, "/predictions/some-name")
    text = served.client.get("/metrics").text
    assert 'route="/predictions/{model}"' in text
    assert "some-name" not in text


def test_an_api_key_guards_every_route_but_health_checks():
    settings = Serving(request_bytes=1 << 20, predict_seconds=10, api_key=API_KEY, lmi_errors=True)
    with serving(serving=settings) as server:
        for path in ("/ping", "/health"):
            assert server.client.get(path).status_code == 200
        for path in ("/v1/models", "/metrics", "/nowhere"):
            assert server.client.get(path).status_code == 401
        for wrong in ({}, {"authorization": "Bearer no"}, {"authorization": API_KEY}, {"x-api-key": "k3"}):
            refused = server.post(ask("hi"), **wrong)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
            assert fault(refused)["code"] == "invalid_api_key"
        for right in ({"authorization": f"Bearer {API_KEY}"}, {"x-api-key": API_KEY}):
            assert answer(server.post(ask("hi"), **right)) == "user: hi"


def test_metrics_need_no_key_where_the_operator_says_so():
    settings = Serving(request_bytes=1 << 20, predict_seconds=10, api_key=API_KEY, public_metrics=True)
    with serving(serving=settings) as server:
        assert server.client.get("/metrics").status_code == 200
        assert server.client.get("/v1/models").status_code == 401


def test_a_key_may_have_any_characters():
    locked = Serving(request_bytes=1 << 20, predict_seconds=10, api_key="Schlüssel")
    with serving(serving=locked) as server:
        for header in ({"authorization": "Bearer Schlüssel".encode()}, {"x-api-key": "Schlüssel".encode()}):
            assert server.client.get("/v1/models", headers=header).status_code == 200
        assert server.client.get("/v1/models", headers={"x-api-key": "Schlussel"}).status_code == 401


def test_a_path_that_a_route_answers_is_counted_as_that_route(served):
    assert served.client.post("/invocations%0A", json={"inputs": "a"}).status_code == 200
    assert 'route="/invocations"' in served.client.get("/metrics").text
    engine = FakeEngine(gate=asyncio.Event())
    with serving(engine, queue=1) as full:
        first = threading.Thread(target=full.post, args=({"inputs": "a"},))
        first.start()
        wait_for(lambda: engine.seen)
        for path in ("/invocations", "/invocations%0A", "/predictions/a%0A"):
            assert full.client.post(path, json={"inputs": "a"}).status_code == 503, path
        full.call(engine.gate.set)
        first.join()


def test_a_field_that_is_null_is_as_if_it_were_not_there(served):
    nulls = {"messages": None, "prompt": None, "requestType": None}
    assert served.post({**nulls, "inputs": "a"}).json() == {"generated_text": "a"}
    assert fault(served.post({"prompt": None}))["param"] == "prompt"


def test_a_question_in_a_header_is_read_in_utf8_or_latin1(served):
    for header in ("Größe? 😀".encode(), b"ready?"):
        response = served.post(png(), **{"content-type": "image/png", "x-lumi-question": header})
        assert header.decode() in answer(response)
    assert "Größe" in answer(
        served.post(png(), **{"content-type": "image/png", "x-lumi-question": "Größe".encode("latin-1")})
    )


def test_tokens_are_counted_within_a_session_and_for_an_adapter(served):
    session = served.post({"requestType": "NEW_SESSION"}).headers["x-amzn-sagemaker-session-id"]
    named = {"x-amzn-sagemaker-session-id": session}
    served.post(ask("see", data_url()), **named)
    again = ask("again", {"type": "image", "image": f"sha256:{hashlib.sha256(png()).hexdigest()}"}, strange=1)
    counted = served.post(again, "/tokenize", **named)
    assert counted.json()["count"] == len("user: again[4x3]")
    assert counted.headers["x-lumi-ignored"] == "strange"
    chosen = {"X-Amzn-SageMaker-Adapter-Identifier": "none-such"}
    assert fault(served.post({"prompt": "a"}, "/tokenize", **chosen))["code"] == "adapter_not_found"
