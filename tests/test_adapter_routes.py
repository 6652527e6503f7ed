"""Adapters over the real server and a scripted engine: how a request chooses one, and how they change."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from container.http.inference import Serving
from handler.engine import Adapter
from handler.engines.fake import FakeEngine
from handler.payload.adapter_choice import HEADER
from tests.adapter_cases import write_adapter
from tests.serving import answer, ask, data_url, fault, serving, wait_for

MANAGED = Serving(request_bytes=1 << 20, predict_seconds=10, management=True)


def engine(**how):
    scripted = FakeEngine(**how)
    for name in ("french", "german"):
        scripted._adapters[name] = Adapter(name, f"/somewhere/{name}", f"adapters/{name}", rank=4, created=7)
    return scripted


def adaptable(model, home):
    """Options for a model in the directory `model`, whose adapters are kept below `home`."""
    (model / "config.json").write_text("{}")
    return {"HF_MODEL_ID": str(model), "OPTION_DOWNLOAD_DIR": str(home), "OPTION_ENABLE_LORA": "true"}


@pytest.fixture(scope="module")
def served():
    with serving(engine()) as server:
        yield server


@pytest.fixture
def managed(tmp_path):
    """A server whose adapters may be changed, from the directory `allowed`."""
    (tmp_path / "allowed").mkdir()
    with serving(engine(), serving=MANAGED, environ=adaptable(tmp_path / "allowed", tmp_path)) as server:
        yield server


# How a request chooses


@pytest.mark.parametrize(
    ("fields", "headers"),
    [
        ({}, {HEADER: "french"}),
        ({}, {HEADER.lower(): "french"}),
        ({"adapters": "french"}, {}),
        ({"adapters": ["french"]}, {}),
        ({"model": "french"}, {}),
        ({"model": "fake", "adapters": "french"}, {}),
        ({"model": "french", "adapters": "french"}, {HEADER: "french"}),
    ],
)
@pytest.mark.parametrize("path", ["/invocations", "/v1/chat/completions"])
def test_a_chat_is_answered_by_the_adapter_that_it_names(served, path, fields, headers):
    response = served.post(ask("hi", **fields), path, **headers)
    assert answer(response) == "user: hi (french)"
    assert response.json()["model"] == "french"


@pytest.mark.parametrize("nobody", [{}, {"adapters": None}, {"adapters": ""}, {"adapters": []}, {"adapters": [None]}])
def test_without_an_adapter_the_model_answers(served, nobody):
    assert answer(served.post(ask("hi", **nobody))) == "user: hi"


def test_an_adapter_for_images_answers_those_that_name_none(tmp_path):
    scripted = engine()
    vision = {"OPTION_DEFAULT_MM_LORAS": json.dumps({"image": str(write_adapter(tmp_path / "vision"))})}
    with serving(scripted, environ={**adaptable(tmp_path, tmp_path), **vision}) as server:
        assert answer(server.post(ask("hi", data_url(1, 1)))) == "user: hi[1x1] (image)"
        assert answer(server.post(ask("hi", data_url(1, 1), model="fake"))) == "user: hi[1x1] (image)"
        assert answer(server.post(ask("hi"))) == "user: hi"
        assert answer(server.post(ask("hi", data_url(1, 1), adapters="french"))) == "user: hi[1x1] (french)"
        assert answer(server.post(ask("hi", data_url(1, 1), model="french"))) == "user: hi[1x1] (french)"
        server.call(scripted._adapters.pop, "image")
        wait_for(lambda: "image" not in scripted.adapters)
        assert answer(server.post(ask("hi", data_url(1, 1)))) == "user: hi[1x1]"


def test_a_completion_and_its_stream_are_the_adapters(served):
    response = served.post({"prompt": "hi", "adapters": "german"}, "/v1/completions")
    assert response.json()["choices"][0]["text"] == "hi (german)"
    response = served.post({"prompt": ["a", "b"], "adapters": ["german", "german"]}, "/v1/completions")
    assert [choice["text"] for choice in response.json()["choices"]] == ["a (german)", "b (german)"]
    assert '"hi (german)"' in served.post({"prompt": "hi", "stream": True}, **{HEADER: "german"}).text


def test_each_input_of_text_generation_has_an_adapter_of_its_own(served):
    body = {"inputs": ["a", "b", "c"], "adapters": ["french", None, "german"]}
    texts = [one["generated_text"] for one in served.post(body).json()]
    assert texts == ["a (french)", "b", "c (german)"]
    both = served.post({"inputs": ["a", "b"], "adapters": "french"}).json()
    assert [one["generated_text"] for one in both] == ["a (french)", "b (french)"]


def test_tgis_adapter_id_is_understood(served):
    body = {"inputs": "a", "parameters": {"adapter_id": "french"}}
    assert served.post(body).json() == {"generated_text": "a (french)"}


@pytest.mark.parametrize(
    ("body", "headers", "param"),
    [
        (ask("hi", adapters="dutch"), {}, "adapters"),
        (ask("hi", adapters=["dutch"]), {}, "adapters[0]"),
        (ask("hi"), {HEADER: "dutch"}, HEADER),
        ({"inputs": ["a", "b"], "adapters": ["french", "dutch"]}, {}, "adapters[1]"),
        ({"inputs": "a", "parameters": {"adapter_id": "dutch"}}, {}, "parameters.adapter_id"),
        ({"prompt": "a", "adapters": "dutch"}, {}, "adapters"),
        (ask("hi", adapters="fake"), {}, "adapters"),
    ],
)
def test_an_unknown_adapter_is_a_404_that_names_the_available_ones(served, body, headers, param):
    response = served.post(body, **headers)
    assert response.status_code == 404
    assert fault(response)["param"] == param
    assert fault(response)["code"] == "adapter_not_found"
    assert "french, german" in fault(response)["message"]


def test_an_unknown_model_names_the_adapters_as_well(served):
    response = served.post(ask("hi", model="dutch"), "/v1/chat/completions")
    assert response.status_code == 404
    assert fault(response)["message"].endswith("Available: fake, french, german.")


@pytest.mark.parametrize(
    ("body", "headers", "param"),
    [
        (ask("hi", adapters="french"), {HEADER: "german"}, "adapters"),
        (ask("hi", adapters="french", model="german"), {}, "adapters"),
        (ask("hi", model="german"), {HEADER: "french"}, HEADER),
        (ask("hi", adapters=["french", "german"]), {}, "adapters"),
        ({"prompt": ["a", "b"], "adapters": ["french", "german"]}, {}, "adapters"),
        ({"inputs": ["a", "b"], "adapters": ["french"]}, {}, "adapters"),
        ({"inputs": ["a", "b"], "adapters": ["french", "german"]}, {HEADER: "french"}, "adapters[1]"),
        ({"inputs": ["a", "b"], "adapters": ["french", None]}, {HEADER: "french"}, "adapters[1]"),
        ({"inputs": "a", "adapters": "french", "parameters": {"adapter_id": "french"}}, {}, "parameters.adapter_id"),
        (ask("hi", adapters=5), {}, "adapters"),
        (ask("hi", adapters=["french", 5]), {}, "adapters[1]"),
        (ask("hi", adapters={"french": 1}), {}, "adapters"),
    ],
)
def test_adapters_that_disagree_or_are_not_names_are_a_400(served, body, headers, param):
    response = served.post(body, **headers)
    assert response.status_code == 400, response.text
    assert fault(response)["param"] == param


# What is listed


def test_the_lists_of_models_name_the_adapters(served):
    models = {model["id"]: model for model in served.client.get("/v1/models").json()["data"]}
    assert list(models) == ["fake", "french", "german"]
    assert models["fake"]["parent"] is None
    assert (models["french"]["parent"], models["french"]["root"]) == ("fake", "adapters/french")
    assert models["german"].items() <= served.client.get("/v1/models/german").json().items()
    shown = [{"name": "french", "src": "adapters/french"}, {"name": "german", "src": "adapters/german"}]
    assert served.client.get("/models").json()["models"][0]["adapters"] == shown
    assert served.client.get("/models/fake").json()[0]["models"][0]["adapters"] == shown


@pytest.mark.parametrize("prefix", ["", "/models/fake", "/models/model"])
def test_adapters_are_listed_and_described_without_management(served, prefix):
    french = {"name": "french", "src": "adapters/french", "load": True, "pin": False, "rank": 4}
    listed = served.client.get(f"{prefix}/adapters").json()
    assert listed["adapters"][0] == french
    assert served.client.get(f"{prefix}/adapters/french").json() == [french]
    assert served.client.get(f"{prefix}/adapters/dutch").status_code == 404


def test_a_list_has_pages(served):
    first = served.client.get("/adapters?limit=1").json()
    assert [one["name"] for one in first["adapters"]] == ["french"]
    second = served.client.get(f"/adapters?limit=1&next_page_token={first['nextPageToken']}").json()
    assert [one["name"] for one in second["adapters"]] == ["german"]
    assert "nextPageToken" not in second
    assert served.client.get("/adapters?limit=x").status_code == 400


def test_adapters_of_another_model_are_not_there(served):
    response = served.client.get("/models/other/adapters")
    assert (response.status_code, fault(response)["code"]) == (404, "model_not_found")


CHANGES = [
    ("POST", "/adapters"),
    ("POST", "/models/fake/adapters?name=a&src=b"),
    ("POST", "/adapters/french/update"),
    ("DELETE", "/adapters/french"),
    ("DELETE", "/models/fake/adapters/french"),
    ("POST", "/v1/load_lora_adapter"),
    ("POST", "/v1/unload_lora_adapter"),
    ("POST", "/models?url=s3://a/b"),
    ("PUT", "/models/fake?min_worker=2"),
    ("DELETE", "/models/fake"),
    ("POST", "/server/logging?level=debug"),
]


@pytest.mark.parametrize(("method", "path"), CHANGES)
def test_nothing_is_changed_without_management(served, method, path):
    response = served.client.request(method, path, json={"name": "a", "src": "b", "lora_name": "french"})
    assert response.status_code == 403
    assert fault(response)["code"] == "not_allowed"
    assert "OPTION_ENABLE_MANAGEMENT=true" in fault(response)["message"]
    assert set(served.engine.adapters) == {"french", "german"}


def test_changes_ask_for_the_api_key_as_every_route_does():
    guarded = Serving(request_bytes=1 << 20, predict_seconds=10, management=True, api_key="secret")
    with serving(engine(), serving=guarded) as server:
        assert server.client.delete("/adapters/french").status_code == 401
        assert server.client.get("/adapters").status_code == 401
        key = {"authorization": "Bearer secret"}
        assert server.client.delete("/adapters/french", headers=key).status_code == 200


# How they change


def test_an_adapter_is_registered_described_used_and_removed(managed, tmp_path):
    source = str(write_adapter(tmp_path / "allowed" / "dutch"))
    response = managed.post({"name": "dutch", "src": source}, "/adapters")
    assert (response.status_code, response.json()) == (200, {"status": "Adapter dutch registered"})
    assert managed.client.get("/adapters/dutch").json()[0]["src"] == source
    assert answer(managed.post(ask("hi", adapters="dutch"))) == "user: hi (dutch)"
    response = managed.client.delete("/adapters/dutch")
    assert (response.status_code, response.json()) == (200, {"status": "Adapter dutch unregistered"})
    assert managed.post(ask("hi", adapters="dutch")).status_code == 404
    assert managed.client.delete("/adapters/dutch").status_code == 404
    wait_for(lambda: not list((tmp_path / "adapters").iterdir()))


def test_lmis_query_and_vllms_bodies_are_understood(managed, tmp_path):
    source = str(write_adapter(tmp_path / "allowed" / "dutch"))
    assert managed.client.post(f"/models/fake/adapters?name=dutch&src={source}").status_code == 200
    assert managed.client.delete("/models/fake/adapters/dutch").status_code == 200
    response = managed.post({"lora_name": "dutch", "lora_path": source}, "/v1/load_lora_adapter")
    assert response.text == "Success: LoRA adapter 'dutch' added successfully."
    again = {"lora_name": "dutch", "lora_path": source, "load_inplace": True}
    assert managed.post(again, "/v1/load_lora_adapter").status_code == 200
    assert managed.post({"lora_name": "dutch"}, "/v1/unload_lora_adapter").status_code == 200
    assert managed.post({"lora_name": "dutch"}, "/v1/unload_lora_adapter").status_code == 404


def test_flags_without_effect_are_reported(managed, tmp_path):
    write_adapter(tmp_path / "allowed" / "dutch")
    body = {"name": "dutch", "src": "dutch", "preload": "true", "pin": True, "alias": "d"}
    assert managed.post(body, "/adapters").headers["x-lumi-ignored"] == "pin, alias"
    response = managed.client.post("/adapters/dutch/update?preload=false&pin=false")
    assert (response.json(), response.headers["x-lumi-ignored"]) == ({"status": "Adapter dutch updated"}, "preload")


def test_a_registered_adapter_is_a_copy_that_later_changes_do_not_reach(managed, tmp_path):
    source = write_adapter(tmp_path / "allowed" / "dutch")
    managed.post({"name": "dutch", "src": str(source)}, "/adapters")
    kept = managed.engine.adapters["dutch"].directory
    assert kept.startswith(str(tmp_path / "adapters"))
    (source / "adapter_config.json").write_text("{")
    assert json.loads((tmp_path / "adapters" / kept / "adapter_config.json").read_text())["r"] == 4


def test_a_name_that_is_taken_is_a_conflict_until_it_is_updated(managed, tmp_path):
    write_adapter(tmp_path / "allowed" / "dutch")
    response = managed.post({"name": "french", "src": "dutch"}, "/adapters")
    assert (response.status_code, fault(response)["param"]) == (409, "name")
    assert managed.post({"src": "dutch"}, "/adapters/french/update").status_code == 200
    assert managed.engine.adapters["french"].source == "dutch"
    assert managed.post({"src": "dutch"}, "/adapters/other/update").status_code == 404


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"src": "dutch"}, "name"),
        ({"name": "dutch"}, "src"),
        ({"name": 5, "src": "dutch"}, "name"),
        ({"name": "fake", "src": "dutch"}, "name"),
        ({"name": "", "src": "dutch"}, "name"),
        ({"name": "a#1", "src": "dutch"}, "name"),
        ({"name": "a\nb", "src": "dutch"}, "name"),
        ({"name": "x" * 300, "src": "dutch"}, "name"),
        ({"name": "dutch", "src": "nothing"}, "src"),
        ({"name": "dutch", "src": "damaged"}, "src"),
        ({"name": "dutch", "src": "steep"}, None),
    ],
)
def test_an_invalid_registration_is_an_error_and_leaves_nothing(managed, tmp_path, body, param):
    write_adapter(tmp_path / "allowed" / "dutch")
    write_adapter(tmp_path / "allowed" / "steep", rank_pattern={"q_proj": 64})
    (write_adapter(tmp_path / "allowed" / "damaged") / "adapter_model.safetensors").write_bytes(b"x")
    response = managed.post(body, "/adapters")
    assert response.status_code == 400, response.text
    assert fault(response)["param"] == param
    assert set(managed.engine.adapters) == {"french", "german"}
    assert not list((tmp_path / "adapters").glob("*"))


def test_a_server_without_adapters_says_how_to_enable_them():
    with serving(serving=MANAGED) as server:
        response = server.post({"name": "a", "src": "b"}, "/adapters")
        assert response.status_code == 400
        assert "OPTION_ENABLE_LORA=true" in fault(response)["message"]
        assert server.client.get("/adapters").json() == {"adapters": []}


def test_a_removed_adapter_finishes_running_requests_and_takes_no_new_ones(tmp_path):
    scripted = engine(replies=["one ", "two"], hold_after=1)
    write_adapter(tmp_path / "dutch")
    with (
        serving(scripted, serving=MANAGED, environ=adaptable(tmp_path, tmp_path)) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        server.post({"name": "dutch", "src": "dutch"}, "/adapters")
        running = pool.submit(server.post, ask("hi", adapters="dutch"))
        wait_for(lambda: scripted.seen)
        assert server.client.delete("/adapters/dutch").status_code == 200
        assert server.post(ask("hi", adapters="dutch")).status_code == 404
        assert list((tmp_path / "adapters").iterdir()), "its files are there while it runs"
        server.call(scripted.gate.set)
        assert answer(running.result(timeout=10)) == "one two"
        wait_for(lambda: not list((tmp_path / "adapters").iterdir()))


def test_registrations_at_once_under_one_name_leave_one(managed, tmp_path):
    write_adapter(tmp_path / "allowed" / "dutch")
    with ThreadPoolExecutor(8) as pool:
        posts = [pool.submit(managed.post, {"name": "dutch", "src": "dutch"}, "/adapters") for _ in range(8)]
        statuses = sorted(post.result().status_code for post in posts)
    assert statuses == [200] + [409] * 7
    assert len(list((tmp_path / "adapters").iterdir())) == 1


def test_requests_cannot_change_the_model(managed):
    for method, path in (("POST", "/models"), ("PUT", "/models/fake"), ("DELETE", "/models/fake")):
        response = managed.client.request(method, path)
        assert (response.status_code, "The server has one model" in fault(response)["message"]) == (400, True)


def test_the_log_level_may_be_changed(managed):
    import logging

    before = logging.getLogger("lumi").level
    try:
        assert managed.client.post("/server/logging?level=error").status_code == 200
        assert logging.getLogger("lumi").level == logging.ERROR
        assert managed.client.post("/server/logging?level=loud").status_code == 400
    finally:
        logging.getLogger("lumi").setLevel(before)
