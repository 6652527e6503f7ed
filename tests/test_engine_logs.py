"""The log of a server with the real engine, at the level debug: its lines are JSON, and none quotes a request."""

import json

import pytest

from tests.leaks import API_KEY, BODY, IMAGE, SIGNATURE, leaks
from tests.serving import ask, wait_for

pytestmark = pytest.mark.engine

SIGNED = f"http://127.0.0.1:9/a.png?X-Amz-Credential=a&X-Amz-Signature={SIGNATURE}"
TOOL = {"type": "function", "function": {"name": "f", "description": BODY, "parameters": {"type": "object"}}}
# Answers and faults; each quotes the request somewhere.
BODIES = [
    ask(BODY, IMAGE, max_tokens=3),
    ask(BODY, max_tokens=3, tools=[TOOL]),
    ask(BODY, max_tokens=3, stop=[BODY], bad_words=[BODY], user=BODY, metadata={"a": BODY}),
    ask(BODY, SIGNED),
    ask(BODY, f"{IMAGE}{BODY}"),
    ask(BODY, temperature=BODY),
    ask(BODY, logit_bias={BODY: 1}),
    ask(BODY, structured_outputs={"regex": f"({BODY}"}),
    ask(BODY, structured_outputs={"grammar": BODY}),
    ask(BODY, response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": BODY}}}),
    ask(BODY, chat_template_kwargs={"tools": BODY, "messages": BODY}),
    ask(BODY, tools=[{"type": BODY}]),
    ask(BODY, model=BODY),
    {"messages": [{"role": BODY, "content": BODY}]},
    {"messages": [{"role": "user", "content": [{"type": BODY}]}]},
    {"prompt": BODY, "max_tokens": 3, "echo": True, "logprobs": 2},
    {"inputs": BODY, "parameters": {"max_new_tokens": 3, "grammar": {"type": "regex", "value": f"[{BODY}"}}},
    {"inputs": BODY, "parameters": {"truncate": BODY}},
]


def test_no_line_of_the_log_shows_a_secret_or_quotes_a_request(live):
    headers = {"authorization": f"Bearer {API_KEY}", "x-api-key": API_KEY, "x-request-id": "last-of-leaks"}
    for body in BODIES:
        assert live.client.post("/invocations", json=body, headers={**headers, "x-request-id": "a"}).status_code < 500
        stream = {**body, "stream": True}
        assert live.client.post("/invocations", json=stream, headers={**headers, "x-request-id": "b"}).status_code < 500
    live.client.post("/invocations", content=f'{{"messages": {BODY}', headers={"content-type": "application/json"})
    live.client.post("/tokenize", json={"prompt": BODY})
    live.client.get("/nowhere%1b%5b31m%0A{}", params={"question": BODY, "token": SIGNATURE}, headers=headers)
    wait_for(lambda: "last-of-leaks" in live.log())
    assert leaks(live.log()) == []
    assert leaks(live.client.get("/metrics").text) == []


def test_every_line_of_the_log_is_json_once_the_server_is_ready(live):
    """Before, a few are PyTorch's own, which know no request."""
    lines = live.log().splitlines()
    ready = next(number for number, line in enumerate(lines) if '"ready: serving' in line)
    assert [line for line in lines[ready:] if not line.startswith("{")] == []
    entries = [json.loads(line) for line in lines if line.startswith("{")]
    assert {"lumi", "vllm"} <= {entry["logger"].split(".")[0] for entry in entries}
