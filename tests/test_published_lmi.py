"""What djl-serving publishes to test LMI with: bodies, code and routes, each with its verdict (docs/lmi-fixtures.md)."""

import asyncio
import io
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from container.http.inference import Serving
from handler.djl.call import Call
from handler.engine import Adapter
from handler.engines.fake import FakeEngine
from handler.errors import LumiError, StartError
from tests.serving import data_url, serving
from tests.user_code import own_model, read, write

PUBLISHED = tomllib.loads((Path(__file__).parent / "published" / "lmi.toml").read_text())
# The parameters of vLLM's text completions that the bodies have.
SAMPLING = """repetition_penalty top_p top_k length_penalty early_stopping presence_penalty frequency_penalty min_tokens
include_stop_str_in_output ignore_eos skip_special_tokens spaces_between_special_tokens use_beam_search prompt_logprobs
return_tokens_as_token_ids echo top_logprobs tool_choice"""
JSON = {"content-type": "application/json"}


def names(kind):
    return {f"{case['source'].split('/')[-1]}: {case['name']}": case for case in PUBLISHED[kind]}


def engine():
    scripted = FakeEngine()
    known = frozenset(SAMPLING.split())
    card = scripted.card
    scripted.card = replace(
        card, parameters=card.parameters | known | {"logprobs", "seed"}, text_parameters=card.text_parameters | known
    )
    for name in ("medical", "exam"):
        scripted._adapters[name] = Adapter(name, f"/somewhere/{name}", f"adapters/{name}", rank=4)
    return scripted


@pytest.fixture(scope="module")
def server():
    with serving(engine(), environ={"OPTION_ENABLE_STATEFUL_SESSIONS": "true"}) as served:
        yield served


def send(server, case: Mapping[str, Any]):
    path = "/invocations" + (f"?{case['query']}" if "query" in case else "")
    if "form" in case:
        files = {"data": ("data", image(), "image/png"), "json": (None, case["form"]["json"], "application/json")}
        return server.client.post(path, files=files)
    # What an address leads to is not the matter here.
    body = re.sub(r"https://resources\.djl\.ai/images/\w+\.jpg", data_url(), case["body"])
    kind = {"content-type": case.get("type", "application/json")}
    return server.client.post(path, content=body.encode(), headers=kind | case.get("headers", {}))


def image():
    file = io.BytesIO()
    Image.new("RGB", (4, 3)).save(file, "PNG")
    return file.getvalue()


def lines(response):
    assert response.headers["content-type"] == "application/jsonlines"
    return [json.loads(line) for line in response.text.splitlines() if line]


def check_answer(kind, response):  # what LMI's client reads of it
    if kind == "error":
        assert 400 <= response.status_code < 500
        assert response.json()["error"]["message"]
        return
    assert response.status_code == 200, response.text
    assert "x-lumi-ignored" not in response.headers
    if kind == "lines":
        *_, last = lines(response)
        assert (last["generated_text"], last["details"]["finish_reason"]) != (None, "error")
    elif kind == "chunks":
        assert lines(response)[-1]["object"] == "chat.completion.chunk"
    elif kind == "list":
        assert [list(one) for one in response.json()] == [["generated_text"]] * len(response.json())
    elif kind == "chat":
        assert response.json()["choices"][0]["message"]["content"]
    elif kind == "session":
        assert response.headers["x-amzn-sagemaker-session-id"].split(";")[0]
    else:
        told = response.json()
        assert told["generated_text"]
        assert ("details" in told) == (kind == "details")
        assert kind != "details" or {"finish_reason", "generated_tokens", "tokens"} <= told["details"].keys()


@pytest.mark.parametrize("case", names("payload").values(), ids=names("payload"))
def test_a_published_body_gets_its_verdict(server, case):
    response = send(server, case)
    check_answer(case["answer"], response)
    assert case.get("has", "") in response.text
    assert (case["verdict"] == "refused") <= (case["answer"] == "error")


@pytest.mark.parametrize("case", names("route").values(), ids=names("route"))
def test_a_published_route_gets_its_verdict(server, case):
    method, path = case["name"].split()
    response = server.client.request(method, path, content=b'{"inputs": "hi"}', headers=JSON)
    assert response.status_code == case["status"], response.text
    assert case["has"] in response.text


@pytest.mark.parametrize("case", names("code").values(), ids=names("code"))
def test_published_code_gets_its_verdict(tmp_path, case):
    write(tmp_path, case["text"])
    if "start" in case:
        with pytest.raises(StartError) as failed:
            asyncio.run(call_code(tmp_path, []))
        assert case["start"] in str(failed.value)
        return
    told = serve(tmp_path, case["calls"]) if case.get("served") else asyncio.run(call_code(tmp_path, case["calls"]))
    for call, (status, headers, text) in zip(case["calls"], told, strict=True):
        assert status == call["status"], text
        assert text == call.get("is", text)
        assert call.get("has", "") in text
        assert call.get("header", "") in headers.get("x-total", "")


def serve(directory, calls):
    """The answers of the real server, with LMI's statuses, around a scripted engine."""
    (directory / "config.json").write_text("{}")
    settings = Serving(request_bytes=1 << 20, predict_seconds=10, lmi_errors=True)
    with serving(FakeEngine(), environ={"HF_MODEL_ID": str(directory)}, serving=settings) as server:
        for call in calls:
            response = server.client.post("/invocations", content=call["body"].encode(), headers=JSON)
            yield response.status_code, response.headers, response.text.strip()


async def call_code(directory, calls):
    """The answers of code that owns the model."""
    async with own_model(directory, properties={"sessions_path": str(directory / "sessions")}) as model:
        return [await call_once(model, call) for call in calls]


async def call_once(model, call):
    query = [tuple(pair.split("=")) for pair in call.get("query", "").split("&") if pair]
    body = image() if call["body"] == "image" else call["body"].encode()
    headers = {"content-type": call.get("type", "application/json"), **call.get("headers", {})}
    try:
        status, told, answered = await read(await model.handle(Call(body, headers, tuple(query))))
    except LumiError as error:
        from container.http.statuses import error_response

        failed = error_response(error, as_lmi=False)
        status, told, answered = failed.status_code, failed.headers, failed.body
    text = answered.decode(errors="replace")
    return status, told, text if status == 200 and "\n" in call.get("is", "") else text.strip()


def test_every_case_has_a_source_a_verdict_and_what_differs():
    cases = [case for kind in ("payload", "code", "route") for case in PUBLISHED[kind]]
    assert {case["verdict"] for case in cases} == {"works", "refused", "differs"}
    assert [case["name"] for case in cases if ("why" in case) == (case["verdict"] == "works")] == []
    assert all(case["source"] for case in cases)
