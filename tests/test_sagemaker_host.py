"""A container that runs on a host of a SageMaker endpoint: how it knows, and what is open there."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from container.entrypoint import front_end
from container.options.sources.sagemaker import is_sagemaker_host
from handler.engine import Adapter
from handler.engines.fake import FakeEngine
from handler.payload.adapter_choice import HEADER
from tests.adapter_cases import write_adapter
from tests.option_cases import refusal
from tests.serving import Served, answer, ask, fault, options_of, serving, wait_for

PORTS = {"SAGEMAKER_SAFE_PORT_RANGE": "21000-21999"}
AGENT = {"ECS_CONTAINER_METADATA_URI_V4": "http://169.254.170.2/v4/8405664a"}
# The environment of a container of an endpoint, as pytorch/serve#631 and #1028 print it.
HOST = {
    **PORTS,
    **AGENT,
    "ECS_CONTAINER_METADATA_URI": "http://169.254.170.2/v3/8405664a",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/781b8b5d",
    "AWS_EXECUTION_ENV": "AWS_ECS_EC2",
    "AWS_REGION": "us-west-2",
    "HOSTNAME": "model.aws.local",
}
LORA = {"OPTION_ENABLE_LORA": "true"}
# What sagemaker.core.token_generator makes of a caller's credentials (sagemaker-python-sdk a248126, read 2026-11-22).
PLATFORM_TOKEN = (
    "sagemaker-api-key-" + base64.b64encode(b"sagemaker.amazonaws.com/?Action=CallWithBearerToken").decode()
)


@contextmanager
def endpoint(tmp_path, **environ: str) -> Iterator[Served]:
    """A server with the adapter `french` and what these variables open, whose model's directory has the files of `dutch`."""
    scripted = FakeEngine()
    scripted._adapters["french"] = Adapter("french", "/somewhere/french", "adapters/french", rank=4, created=7)
    (tmp_path / "config.json").write_text("{}")
    write_adapter(tmp_path / "dutch")
    given = {"HF_MODEL_ID": str(tmp_path), "OPTION_DOWNLOAD_DIR": str(tmp_path / "cache"), **environ}
    with options_of(**given) as options, serving(scripted, serving=front_end(options), environ=given) as server:
        yield server


@pytest.mark.parametrize("one", [*AGENT, "ECS_CONTAINER_METADATA_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"])
def test_a_host_has_a_range_of_ports_and_an_agent(one):
    assert is_sagemaker_host(HOST)
    assert is_sagemaker_host({**PORTS, one: HOST[one]})


@pytest.mark.parametrize(
    "environ",
    [
        {},
        PORTS,  # set by hand, to try an image of SageMaker's
        AGENT,  # Amazon ECS
        {**AGENT, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/x", "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE"},
        {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1", "KUBERNETES_SERVICE_HOST": "10.0.0.1"},
        {"SAGEMAKER_BIND_TO_PORT": "8080", **AGENT},
        {"SAGEMAKER_SAFE_PORT_RANGE": "yes", **AGENT},
        {**PORTS, "ECS_CONTAINER_METADATA_URI_V4": " "},
        {"HOSTNAME": "model.aws.local"},
    ],
)
def test_no_other_place_is_taken_for_a_host(environ):
    assert not is_sagemaker_host(environ)


# Adapters that SageMaker's inference components register


def test_sagemaker_registers_uses_updates_and_removes_an_adapter_without_an_option_or_a_key(tmp_path):
    """The bodies of LMI (all in the query: AdapterManagementRequestHandler.java) and of the hosting standards 0.1.16 (JSON)."""
    source = str(tmp_path / "dutch")
    alias = {"X-Amzn-SageMaker-Adapter-Alias": "ic-dutch"}
    with endpoint(tmp_path, **HOST, **LORA) as server:
        body = {"name": "a1b2", "src": source, "preload": True, "pin": False}
        response = server.post(body, "/adapters", **alias)
        assert (response.status_code, response.json()) == (200, {"status": "Adapter ic-dutch registered"})
        assert answer(server.post(ask("hi"), **{HEADER: "a1b2"})) == "user: hi (a1b2)"
        updated = server.client.post("/adapters/a1b2/update", params={"src": source}, headers=alias)
        assert updated.json() == {"status": "Adapter ic-dutch updated"}
        removed = server.client.delete("/adapters/a1b2", headers=alias)
        assert removed.json() == {"status": "Adapter ic-dutch unregistered"}
        by_query = server.client.post(
            "/adapters", params={"name": "c3d4", "src": source, "preload": "true", "pin": "false"}
        )
        assert by_query.json() == {"status": "Adapter c3d4 registered"}
        assert server.client.delete("/adapters/c3d4").status_code == 200
        wait_for(lambda: not list((tmp_path / "cache" / "adapters").iterdir()))


OTHER_CHANGES = [
    ("POST", "/models/model/adapters"),
    ("DELETE", "/models/model/adapters/french"),
    ("POST", "/v1/load_lora_adapter"),
    ("POST", "/v1/unload_lora_adapter"),
    ("POST", "/models"),
    ("POST", "/server/logging?level=debug"),
]


@pytest.mark.parametrize(("method", "path"), OTHER_CHANGES)
def test_what_a_client_of_an_endpoint_might_reach_stays_closed(tmp_path, method, path):
    with endpoint(tmp_path, **HOST, **LORA) as server:
        response = server.client.request(method, path, json={"name": "a", "src": "b", "lora_name": "french"})
        assert (response.status_code, fault(response)["code"]) == (403, "not_allowed")
        assert set(server.engine.adapters) == {"french"}


@pytest.mark.parametrize(
    "environ",
    [
        {**LORA},
        {**LORA, **PORTS},
        {**LORA, **AGENT},
        {**LORA, **HOST, "OPTION_ENABLE_MANAGEMENT": "false"},
    ],
    ids=["no host", "ports alone", "ECS", "closed by the operator"],
)
def test_elsewhere_adapters_are_changed_with_the_option_only(tmp_path, environ):
    with endpoint(tmp_path, **environ) as server:
        response = server.post({"name": "dutch", "src": "dutch"}, "/adapters")
        assert response.status_code == 403
        assert "OPTION_ENABLE_MANAGEMENT=true" in fault(response)["message"]


def test_a_host_without_adapters_says_how_to_enable_them(tmp_path):
    with endpoint(tmp_path, **HOST) as server:
        response = server.post({"name": "dutch", "src": "dutch"}, "/adapters")
        assert response.status_code == 400
        assert "OPTION_ENABLE_LORA=true" in fault(response)["message"]


# The tokens of SageMaker's OpenAI-compatible path


@pytest.mark.parametrize("headers", [{}, {"authorization": f"Bearer {PLATFORM_TOKEN}"}])
@pytest.mark.parametrize("path", ["/invocations", "/v1/chat/completions"])
def test_sagemakers_token_is_not_our_key(tmp_path, path, headers):
    with endpoint(tmp_path, **HOST) as server:
        assert answer(server.post(ask("hi"), path, **headers)) == "user: hi"


def test_a_key_that_no_client_could_send_ends_the_start_and_is_not_shown():
    told = refusal({**HOST, "OPTION_API_KEY": "sesame"})
    assert "OPTION_API_KEY" in told
    assert "SAGEMAKER_SAFE_PORT_RANGE" in told
    assert "sesame" not in told


def test_elsewhere_sagemakers_token_opens_nothing(tmp_path):
    with endpoint(tmp_path, **PORTS, OPTION_API_KEY="sesame") as server:
        assert server.post(ask("hi"), authorization=f"Bearer {PLATFORM_TOKEN}").status_code == 401
        assert answer(server.post(ask("hi"), authorization="Bearer sesame")) == "user: hi"
