"""Formatters of adapters behind the real server and the real start."""

import json

import pytest

from container.http.inference import Serving
from handler.engines.fake import FakeEngine
from handler.errors import StartError
from handler.payload.adapter_choice import HEADER
from tests.adapter_cases import write_adapter
from tests.s3_server import s3_served
from tests.serving import fault, serving
from tests.user_code import write

MANAGED = Serving(request_bytes=1 << 20, predict_seconds=10, management=True)
READ = """
from djl_python.input_parser import input_formatter
@input_formatter
def read(payload, **kwargs):
    return {**payload, "inputs": "NAME reads " + payload["inputs"]}
"""
# What djl-serving's integration tests write beside an adapter: the response, with the name of what served it.
SIGN = """
import json
from djl_python.output_formatter import output_formatter
@output_formatter
def sign(response):
    if not isinstance(response, str):
        response.processed_by = "NAME"
        return response
    event = response.removeprefix("data: ").strip()
    return None if event == "[DONE]" else {**json.loads(event), "processed_by": "NAME"}
"""


def write_code(directory, text, name):
    write(directory, text.replace("NAME", name))


@pytest.fixture
def home(tmp_path):
    """A model with code, and adapters of which two have some."""
    model = tmp_path / "model"
    for name in ("french", "german", "plain"):
        write_adapter(model / "adapters" / name)
    (model / "config.json").write_text("{}")
    write_code(model, READ + SIGN, "model")
    write_code(model / "adapters" / "french", READ + SIGN, "french")
    write_code(model / "adapters" / "german", SIGN, "german")
    return model


def served(home, serving_settings=MANAGED, **environ):
    settings = {
        "HF_MODEL_ID": str(home),
        "OPTION_DOWNLOAD_DIR": str(home.parent / "kept"),
        "OPTION_ENABLE_LORA": "true",
    }
    return serving(FakeEngine(), serving=serving_settings, environ={**settings, **environ})


def reader_and_signer(response):
    assert response.status_code == 200, response.text
    told = response.json()
    return told["choices"][0]["text"].split(" ")[0], told["processed_by"]


@pytest.mark.parametrize(
    ("fields", "headers", "used"),
    [
        ({}, {}, ("model", "model")),
        ({"adapters": "french"}, {}, ("french", "french")),
        ({"adapters": ["french"]}, {}, ("french", "french")),
        ({"model": "french"}, {}, ("french", "french")),
        ({"parameters": {"adapter_id": "french"}}, {}, ("french", "french")),
        ({}, {HEADER: "french"}, ("french", "french")),
        ({"adapters": "german"}, {}, ("model", "german")),
        ({"adapters": "plain"}, {}, ("model", "model")),
    ],
)
def test_the_formatters_of_a_request_are_its_adapters_or_else_the_models(home, fields, headers, used):
    with served(home) as server:
        assert reader_and_signer(server.post({"inputs": "hi", **fields}, **headers)) == used


def test_the_formatters_of_an_adapter_take_chats_and_streams(home):
    (home / "model.py").unlink()
    with served(home) as server:
        chat = {"messages": [{"role": "user", "content": "hi"}], "adapters": "german"}
        assert server.post(chat).json()["processed_by"] == "german"
        lines = server.post({"inputs": "hi", "adapters": "french", "stream": True}).text.splitlines()
        assert {json.loads(line)["processed_by"] for line in lines} == {"french"}
        assert server.post({"inputs": "hi", "adapters": "plain"}).json() == {"generated_text": "hi (plain)"}


@pytest.mark.parametrize(
    "fields", [{"adapters": [""]}, {"adapters": [None]}, {"parameters": {"adapter_id": "french"}}, {"adapters": []}]
)
def test_no_request_for_an_adapter_passes_its_formatters_by(home, fields):
    (home / "model.py").unlink()
    with served(home) as server:
        chat = {"messages": [{"role": "user", "content": "hi"}], "model": "german"}
        response = server.post({**chat, **fields})
        assert response.status_code == 400 or response.json()["processed_by"] == "german"


def test_lines_are_refused_where_code_takes_one_request_at_a_time(home):
    with served(home) as server:
        lines = b'{"inputs": "a"}\n{"inputs": "b"}'
        refused = server.client.post("/invocations", content=lines, headers={"content-type": "application/jsonlines"})
        assert refused.status_code == 400
        assert "takes one request at a time" in fault(refused)["message"]


def test_inputs_for_adapters_with_different_code_are_refused(home):
    with served(home) as server:
        refused = server.post({"inputs": ["a", "b"], "adapters": ["french", "german"]})
        assert (refused.status_code, fault(refused)["param"]) == (400, "adapters")


def test_code_comes_changes_and_goes_with_its_adapter(home):
    source = write_adapter(home / "later")
    request = {"inputs": "hi", "adapters": "later"}
    with served(home) as server:
        for name in ("first", "second"):
            write_code(source, READ + SIGN, name)
            changed = "/adapters" if name == "first" else "/adapters/later/update"
            assert server.post({"name": "later", "src": str(source)}, changed).status_code == 200
            assert reader_and_signer(server.post(request)) == (name, name)
        assert server.client.delete("/adapters/later").status_code == 200
        (source / "model.py").unlink()
        assert server.post({"name": "later", "src": f"file://{source}"}, "/adapters").status_code == 200
        assert reader_and_signer(server.post(request)) == ("model", "model")


def test_an_adapter_whose_code_fails_is_not_registered(home):
    source = write_adapter(home / "later")
    write(source, "import json\n1 / 0\n")
    with served(home) as server:
        refused = server.post({"name": "later", "src": str(source)}, "/adapters")
        assert (refused.status_code, fault(refused)["code"]) == (400, "adapter_invalid")
        assert "model.py, line 2, could not be loaded: ZeroDivisionError" in fault(refused)["message"]
        assert server.client.get("/adapters/later").status_code == 404


def test_code_that_fails_beside_an_adapter_of_the_model_ends_the_start(home):
    write(home / "adapters" / "french", "def broken(:\n")
    with served(home) as server:
        failed = server.wait()
    assert isinstance(failed, StartError)
    assert "The adapter french in " in str(failed)
    assert "model.py, line 1, could not be loaded: SyntaxError" in str(failed)


def test_an_adapter_that_vllm_refuses_leaves_its_code_out(home):
    source = write_adapter(home / "later", r=512)
    write_code(source, SIGN, "later")
    with served(home) as server:
        assert server.post({"name": "french", "src": str(source)}, "/adapters/french/update").status_code == 400
        assert reader_and_signer(server.post({"inputs": "hi", "adapters": "french"})) == ("french", "french")


@pytest.mark.parametrize(("trusted", "status"), [("false", 400), ("true", 200)])
def test_code_from_an_address_of_a_request_runs_only_where_remote_code_is_trusted(home, monkeypatch, trusted, status):
    write_code(write_adapter(home.parent / "remote"), SIGN, "remote")
    with s3_served() as store, served(home, OPTION_TRUST_REMOTE_CODE=trusted) as server:
        for name, value in {"ENDPOINT_URL": store.url, "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        for file in (home.parent / "remote").iterdir():
            store.put(f"remote/{file.name}", file)
        response = server.post({"name": "remote", "src": "s3://bucket/remote"}, "/adapters")
        assert response.status_code == status, response.text
        if status == 200:
            assert server.post({"inputs": "hi", "adapters": "remote"}).json()["processed_by"] == "remote"
        else:
            assert fault(response)["code"] == "adapter_forbidden"
            assert "OPTION_TRUST_REMOTE_CODE=true" in fault(response)["message"]


def test_code_from_an_address_of_the_operator_runs_again_with_an_update(home, monkeypatch):
    with s3_served() as store:
        for name, value in {"ENDPOINT_URL": store.url, "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}.items():
            monkeypatch.setenv(f"AWS_{name}", value)

        def put(name):
            write_code(write_adapter(home.parent / "remote"), SIGN, name)
            for file in (home.parent / "remote").iterdir():
                store.put(f"remote/{file.name}", file)

        put("first")
        with served(home, OPTION_LORA_MODULES="remote=s3://bucket/remote") as server:
            request = {"inputs": "hi", "adapters": "remote"}
            assert server.post(request).json()["processed_by"] == "first"
            put("second")
            assert server.client.post("/adapters/remote/update").status_code == 200
            assert server.post(request).json()["processed_by"] == "second"
            assert server.post({"name": "other", "src": "s3://bucket/remote/"}, "/adapters").status_code == 400


def test_a_handler_beside_an_adapter_is_not_called_and_a_warning_says_so(home, caplog):
    write(home / "adapters" / "plain", "def handle(inputs):\n    raise RuntimeError\n")
    with served(home) as server:
        assert reader_and_signer(server.post({"inputs": "hi", "adapters": "plain"})) == ("model", "model")
    assert "plain/model.py has no formatter" in caplog.text
