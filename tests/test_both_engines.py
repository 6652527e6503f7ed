"""The model that ships, in vLLM and in transformers: what a client sees is the same."""

import pytest

from tests.drawn import post, url
from tests.live import start
from tests.serving import ask

pytestmark = pytest.mark.engine

OF_A_REQUEST = {"id", "created", "system_fingerprint"}
# vLLM has a cache of prefixes.
OF_AN_ENGINE = {"prompt_tokens_details", "completion_tokens_details"}
WHAT = "What is in the image?"
CHATS = {
    "an image": ask(WHAT, url("red", "circle")),
    "two images": ask("What is in the images?", url("red", "circle"), url("blue", "square")),
    "a text": {"messages": [{"role": "user", "content": "Hello"}]},
    "two turns": {
        "messages": [
            *ask(WHAT, url("green", "star"))["messages"],
            {"role": "assistant", "content": "a green star"},
            *ask(WHAT, url("blue", "square"))["messages"],
        ]
    },
}
FIELDS = {
    "log probabilities": {"logprobs": True, "top_logprobs": 3},
    "token ids": {"return_token_ids": True},
    "a stop string": {"stop": ["circle", "square", "star"]},
    "a penalty": {"repetition_penalty": 1.5, "max_tokens": 5},
}


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """The server whose model transformers runs."""
    server = start(tmp_path_factory.mktemp("transformers"), OPTION_TRANSFORMERS_ENGINE="always")
    try:
        server.wait_until(200)
        yield server
    finally:
        server.end()


def flat(value, path=""):
    """A JSON value as its leaves by their paths."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {
            where: leaf
            for name, inner in items
            if name not in OF_A_REQUEST | OF_AN_ENGINE
            for where, leaf in flat(inner, f"{path}.{name}").items()
        }
    return {path: pytest.approx(value, abs=1e-3) if isinstance(value, float) else value}


def answered(server, body, path="/v1/chat/completions"):
    response = post(server, {"temperature": 0, "max_tokens": 16, **body}, path)
    assert response.status_code == 200, response.text
    return response


@pytest.mark.parametrize("chat", CHATS)
def test_a_chat_is_answered_alike(live, other, chat):
    for fields in ({}, *FIELDS.values()):
        body = {**CHATS[chat], **fields}
        assert flat(answered(other, body).json()) == flat(answered(live, body).json()), fields


def test_raw_prompts_are_continued_alike(live, other):
    image = url("red", "circle")
    for path, body in (
        ("/v1/completions", {"prompt": ["The image", "What"], "logprobs": 2}),
        ("/v1/completions", {"prompt": f"<image>\n{WHAT}", "images": [image]}),
        (
            "/invocations",
            {"inputs": f"<image>\n{WHAT}", "images": [image], "parameters": {"do_sample": False, "details": True}},
        ),
    ):
        asked = body if "inputs" in body else {"temperature": 0, "max_tokens": 16, **body}
        ours, theirs = (server.client.post(path, json=asked) for server in (other, live))
        assert flat(ours.json()) == flat(theirs.json())
        assert ours.status_code == 200


def test_what_cannot_be_answered_is_refused_alike(live, other):
    for body in (
        {**CHATS["a text"], "temperature": -1},
        {**CHATS["a text"], "max_tokens": 10**6},
        {**CHATS["a text"], "temprature": 1},
        ask("What is in the images?", *(url("red", "circle") for _ in range(9))),
    ):
        ours, theirs = (post(server, body, "/v1/chat/completions") for server in (other, live))
        assert (ours.status_code, ours.json()["error"]["param"]) == (400, theirs.json()["error"]["param"]), body


def test_what_only_vllm_does_is_refused_by_the_other(other):
    tool = {"type": "function", "function": {"name": "look", "parameters": {}}}
    refusal = post(other, {**CHATS["a text"], "tools": [tool]}, "/v1/chat/completions")
    assert refusal.status_code == 400
    assert refusal.json()["error"]["param"] == "tools"
    assert "transformers runs" in refusal.json()["error"]["message"]


def test_the_log_says_which_engine_runs(other):
    assert "is run by transformers, not by vLLM: OPTION_TRANSFORMERS_ENGINE=always" in other.log()
