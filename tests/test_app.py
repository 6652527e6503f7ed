import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from container.http.inference import Serving
from container.http.statuses import STATUS
from handler import errors
from handler.engine import ModelCard
from handler.engines.fake import FakeEngine
from handler.errors import EngineFailure, InvalidRequest, LumiError, StartError, Unavailable
from tests.serving import answer, ask, data_url, fault, serving, wait_for


@pytest.fixture(scope="module")
def served():
    with serving() as server:
        yield server


def test_every_error_of_a_request_has_a_status():
    def leaves(kind):
        children = kind.__subclasses__()
        return [kind] if not children else [leaf for child in children for leaf in leaves(child)]

    requests = [kind for kind in leaves(LumiError) if not issubclass(kind, StartError)]
    assert set(requests) <= set(STATUS)
    assert all(400 <= STATUS[kind] < 500 for kind in requests if issubclass(kind, errors.RequestError))
    assert all(STATUS[kind] >= 500 for kind in requests if issubclass(kind, errors.ServerError))


@pytest.mark.parametrize("path", ["/invocations", "/v1/chat/completions"])
def test_an_image_and_a_question_are_answered(served, path):
    response = served.post(ask("what is ", data_url(4, 3)), path)
    assert answer(response) == "user: what is [4x3]"
    assert response.headers["content-type"] == "application/json"
    assert response.content.endswith(b"\n")


def test_images_keep_their_order_and_place(served):
    assert answer(served.post(ask("a", data_url(1, 2), "b", data_url(3, 4), "c"))) == "user: a[1x2]b[3x4]c"


def test_ping_health_and_models_of_a_ready_server(served):
    assert served.client.get("/ping").json()["status"] == "ready"
    assert served.client.post("/ping").status_code == 200
    assert served.client.get("/health").status_code == 200
    models = served.client.get("/v1/models").json()
    assert [(model["id"], model["max_model_len"]) for model in models["data"]] == [("fake", 4096)]


def test_a_wrong_method_says_so(served):
    response = served.client.get("/invocations")
    assert response.status_code == 405
    assert fault(response)["message"] == "GET is not allowed on /invocations."
    assert response.headers["allow"] == "POST"
    assert served.client.delete("/v1/models").headers["allow"] == "GET, HEAD"


def test_a_path_with_a_slash_too_many_is_not_redirected(served):
    assert served.client.post("/invocations/", json=ask("hi")).status_code == 404


def test_a_large_body_is_read_beside_the_event_loop():
    with serving(serving=Serving(request_bytes=1 << 22, predict_seconds=10)) as server:
        body = {"messages": [{"role": "user", "content": "x" * 400}] * 2000}
        assert answer(server.post(body)).startswith("user: xxx")


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        (b"", None, "empty"),
        (b"{", None, "not valid JSON"),
        (b'{"messages": NaN}', None, "not valid JSON"),
        (b"[1]", None, "a list"),
        (b'{"a": 1}', "messages", "missing"),
        (b'{"messages": []}', "messages", "at least one"),
        (b"\xff\xfe", None, "not valid JSON"),
    ],
)
def test_a_broken_body_is_the_clients_fault_in_words(served, body, param, words):
    response = served.post(body)
    assert response.status_code == 400
    assert fault(response)["param"] == param
    assert words in fault(response)["message"]
    assert fault(response)["type"] == "invalid_request_error"


def test_a_body_over_the_limit_is_refused_unread():
    with serving(serving=Serving(request_bytes=1000, predict_seconds=10)) as server:
        response = server.post(ask("x" * 2000))
        assert response.status_code == 413
        assert "OPTION_MAX_REQUEST_SIZE" in fault(response)["message"]
        pieces = (b"x" * 600 for _ in range(3))  # no content-length
        assert server.client.post("/invocations", content=pieces).status_code == 413
        assert answer(server.post(ask("short")))


def test_a_body_of_another_kind_says_what_to_send(served):
    response = served.client.post("/invocations", content=b"RIFF", headers={"content-type": "audio/wav"})
    assert response.status_code == 400
    assert "audio/wav" in fault(response)["message"]
    assert "JSON" in fault(response)["message"]


def test_an_unknown_model_is_404_where_openai_has_it_so(served):
    response = served.post(ask("hi", model="gpt-4"), "/v1/chat/completions")
    assert response.status_code == 404
    assert fault(response)["code"] == "model_not_found"
    assert "fake" in fault(response)["message"]


@pytest.mark.parametrize("path", ["/invocations", "/predictions/any", "/models/model/invoke"])
@pytest.mark.parametrize("schema", [ask("hi"), {"prompt": "hi"}, {"inputs": "hi"}])
def test_any_model_is_answered_where_the_endpoint_is_the_model(served, path, schema):
    response = served.post({**schema, "model": "my-endpoint"}, path)
    assert response.status_code == 200
    assert response.headers["x-lumi-ignored"] == "model"
    assert response.json().get("model", "fake") == "fake"
    assert served.post({**schema, "model": 5}, path).status_code == 400


def test_an_empty_model_is_the_model_that_is_served(served):
    for path in ("/invocations", "/v1/chat/completions"):
        response = served.post(ask("hi", model=""), path)
        assert (response.status_code, response.json()["model"]) == (200, "fake")
        assert "x-lumi-ignored" not in response.headers


def test_a_model_that_reads_text_only_refuses_an_image():
    card = ModelCard(names=("words",), max_model_len=10, supports_images=False)
    with serving(FakeEngine(card=card)) as server:
        response = server.post(ask("hi", data_url()))
        assert response.status_code == 400
        assert fault(response)["param"] == "messages[0].content[1].image_url.url"
        assert answer(server.post(ask("hi"))) == "user: hi"


def test_the_engines_faults_are_5xx_without_internals():
    with serving(FakeEngine(error=EngineFailure("The engine failed on this request."))) as server:
        response = server.post(ask("hi"))
        assert response.status_code == 500
        assert fault(response)["type"] == "server_error"


def test_retry_after_comes_with_unavailable():
    with serving(FakeEngine(error=Unavailable("busy", retry_after=7))) as server:
        response = server.post(ask("hi"))
        assert (response.status_code, response.headers["retry-after"]) == (503, "7")


def test_lmi_errors_are_424_on_invocations_only_when_asked_for():
    settings = Serving(request_bytes=1 << 20, predict_seconds=10, lmi_errors=True)
    with serving(serving=settings) as server:
        response = server.post(b"{")
        assert response.status_code == 424
        assert response.json()["code"] == 424
        assert server.post(b"{", "/v1/chat/completions").status_code == 400
        assert server.post(ask("x" * (1 << 20))).status_code == 413


def test_the_placeholder_token_puts_images_into_the_text():
    with serving(environ={"OPTION_IMAGE_PLACEHOLDER_TOKEN": "<image>"}) as server:
        assert answer(server.post(ask("a <image> b", data_url(1, 1)))) == "user: a [1x1] b"


def test_an_answer_that_takes_too_long_is_a_504_and_is_aborted():
    engine = FakeEngine(gate=_closed_gate())
    settings = Serving(request_bytes=1 << 20, predict_seconds=0.1)
    with serving(engine, serving=settings) as server:
        response = server.post(ask("hi"))
        assert response.status_code == 504
        assert "OPTION_PREDICT_TIMEOUT" in fault(response)["message"]
        assert len(engine.aborted) == 1


def test_a_client_that_leaves_aborts_its_request():
    engine = FakeEngine(gate=_closed_gate())
    with serving(engine) as server:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.url}/invocations", json=ask("hi"), timeout=0.3)
        wait_for(lambda: engine.aborted)


def test_an_upload_that_is_given_up_harms_nobody(served):
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as sock:
        sock.sendall(b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
    assert answer(served.post(ask("hi")))


def test_a_refusal_before_the_first_chunk_of_a_stream_is_an_ordinary_error():
    with serving(FakeEngine(error=InvalidRequest("no", param="seed"))) as server:
        response = server.post(ask("hi", stream=True))
        assert response.status_code == 400
        assert fault(response)["param"] == "seed"


def _closed_gate():
    import asyncio

    return asyncio.Event()


def test_the_error_object_is_json_even_for_odd_text(served):
    body = ask("hi")
    body["messages"][0]["role"] = 'ro"le\n\u2028'
    assert json.loads(served.post(body).content)["error"]["param"] == "messages[0].role"


SDK = {"user-agent": "python-urllib3/2.8.0"}
PROBES = ["", "curl/8.5.0", "AHC/2.0", "Go-http-client/1.1", "kube-probe/1.31", "python-requests/2.32"]


@pytest.mark.parametrize("agent", PROBES)
def test_a_health_check_is_answered_at_once_while_the_model_loads(agent):
    with serving(loading=threading.Event()) as served:
        response = served.client.get("/ping", headers={"user-agent": agent})
        assert (response.status_code, response.json()["status"]) == (503, "loading")


def test_local_mode_of_sagemakers_sdk_is_answered_when_the_model_is_ready():
    hold = threading.Event()
    with serving(loading=hold) as served, ThreadPoolExecutor() as pool:
        asked = pool.submit(served.client.get, "/ping", headers=SDK)
        served.client.get("/ping")  # the server has had the time to answer
        assert not asked.done()
        hold.set()
        assert asked.result().status_code == 200


def test_local_mode_of_sagemakers_sdk_hears_of_a_server_that_ends():
    with serving(loading=threading.Event()) as served, ThreadPoolExecutor() as pool:
        asked = pool.submit(served.client.get, "/ping", headers=SDK)
        served.client.get("/ping")
        served.terminate()
        assert asked.result().json()["status"] == "draining"
