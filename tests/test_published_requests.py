"""Bodies that AWS, its samples and djl-serving publish, each with its verdict: answered, with the fields that have no effect, or
refused, with the path and the reason.

tests/published/requests.json has the structure of each body and where it stands. Texts are replaced by `hi`, images by a
small one, and what a program fills in by a usual value.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from handler.engine import Adapter
from handler.engines.fake import FakeEngine
from tests.serving import data_url, fault, serving

PUBLISHED = json.loads((Path(__file__).parent / "published" / "requests.json").read_text())
REQUESTS = PUBLISHED["requests"]


@pytest.fixture(scope="module")
def served():
    engine = FakeEngine()
    engine.card = replace(
        engine.card,
        parameters=frozenset(PUBLISHED["chat_parameters"]),
        text_parameters=frozenset(PUBLISHED["text_parameters"]),
    )
    engine._adapters |= {name: Adapter(name, "/somewhere", "somewhere") for name in PUBLISHED["adapters"]}
    with serving(engine) as server:
        yield server


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda one: one["sources"][0].rpartition("/")[2][:40])
def test_a_published_body_gets_its_verdict(served, request_):
    body = json.loads(json.dumps(request_["body"]).replace('"IMAGE"', json.dumps(data_url())))
    response = served.post(body)
    if "refused" in request_:
        assert (response.status_code, fault(response)["param"]) == (
            400 if "adapters" not in body else 404,
            request_["refused"],
        )
    else:
        assert response.status_code == 200, response.text
        assert ", ".join(request_["ignored"]) == response.headers.get("x-lumi-ignored", "")


def test_what_is_refused_is_little_and_has_a_reason():
    refused = [one for one in REQUESTS if "refused" in one]
    assert len(refused) / len(REQUESTS) < 0.1
    assert all(one["why"] for one in refused)


@pytest.mark.engine
@pytest.mark.filterwarnings("default")  # vLLM's and torch's own
def test_the_parameters_are_those_of_vllm():
    from handler.engines.vllm.requests import CHAT_PARAMETERS, TEXT_PARAMETERS

    assert set(PUBLISHED["chat_parameters"]) == CHAT_PARAMETERS
    assert set(PUBLISHED["text_parameters"]) == TEXT_PARAMETERS
