"""End to end: grammars that harm a compiler are refused by the server, in every field that takes one, and it goes on."""

import json
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests.drawn import post
from tests.grammar_cases import HARMFUL, OVER_A_LIMIT, USEFUL, parentheses, references
from tests.serving import answer, ask, fault

pytestmark = pytest.mark.engine

CHAIN = references(3900)  # ends the compiler that reads it
SCHEMA = {"type": "object", "properties": {"color": {"enum": ["red", "blue"]}}, "required": ["color"]}
CHAT = "/v1/chat/completions"
TOOL_CHOICES = ["required", {"type": "function", "function": {"name": "report"}}]


def tool(schema):
    return [{"type": "function", "function": {"name": "report", "strict": True, "parameters": schema}}]


def assert_answers(live):
    assert answer(post(live, {**ask("Count to 9."), "max_tokens": 2})) == "one two"


@pytest.mark.parametrize("name", [*OVER_A_LIMIT, "a chain of references", "an ambiguous expression"])
def test_a_harmful_grammar_is_refused_and_the_server_goes_on(live, name):
    grammar = OVER_A_LIMIT[name] if name in OVER_A_LIMIT else HARMFUL[name][0]
    refused = post(live, {**ask("Count to 9."), "structured_outputs": grammar})
    assert refused.status_code == 400
    assert fault(refused)["param"].startswith("structured_outputs.")
    assert_answers(live)


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (CHAT, {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": CHAIN}}}, "response_format"),
        (CHAT, {"guided_json": CHAIN}, "guided_json"),
        ("/v1/completions", {"prompt": "a", "structured_outputs": {"json": CHAIN}}, "structured_outputs.json"),
        ("/invocations", {"inputs": "a", "parameters": {"grammar": {"type": "json", "value": CHAIN}}}, "parameters.grammar"),
    ],
)  # fmt: skip
def test_it_is_refused_in_every_field_that_takes_a_grammar(live, path, body, param):
    messages = ask("Count to 9.") if path == CHAT else {}
    refused = post(live, {**messages, **body}, path)
    assert (refused.status_code, fault(refused)["param"]) == (400, param)
    assert "too deeply for the compiler" in fault(refused)["message"]


@pytest.mark.parametrize("name", USEFUL)
def test_a_useful_grammar_is_served(live, name):
    body = {**ask("Count to 9."), "structured_outputs": USEFUL[name], "max_tokens": 8}
    assert post(live, body).status_code == 200


@pytest.mark.parametrize("choice", TOOL_CHOICES, ids=["required", "named"])
def test_a_tool_is_called_whatever_kinds_of_grammars_were_used_before(live, choice):
    assert post(live, {**ask("Count to 9."), "structured_outputs": USEFUL["Lark"], "max_tokens": 4}).status_code == 200
    called = post(live, {**ask("Count to 9."), "tools": tool(SCHEMA), "tool_choice": choice})
    (call,) = called.json()["choices"][0]["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"])["color"] in ("red", "blue")


@pytest.mark.parametrize("choice", TOOL_CHOICES, ids=["required", "named"])
@pytest.mark.parametrize(
    "schema",
    [
        {"type": 5},
        {"$ref": "#/nope"},
        {"type": "integer", "minimum": 2**70},
        {"type": "string", "pattern": parentheses(100)},
        {"type": "string", "pattern": "("},
    ],
)
def test_a_tool_with_a_schema_that_cannot_be_compiled_is_refused(live, schema, choice):
    wrong = tool({"type": "object", "properties": {"color": schema}, "required": ["color"]})
    refused = post(live, {**ask("Count to 9."), "tools": wrong, "tool_choice": choice})
    assert (refused.status_code, fault(refused)["param"]) == (400, "tools")


def test_neighbours_are_answered_while_a_grammar_compiles(live):
    slow = {"choice": [f"choice number {i}" for i in range(6000)]}
    with ThreadPoolExecutor() as pool:
        trial = pool.submit(post, live, {**ask("Count to 9."), "structured_outputs": slow, "max_tokens": 2})
        answered = 0
        while not trial.done():
            assert_answers(live)
            answered += 1
    assert trial.result().status_code == 200
    assert answered


def test_the_process_of_the_trials_is_replaced(live):
    body = {**ask("Count to 9."), "max_tokens": 2}
    assert post(live, {**body, "structured_outputs": {"regex": "one|two"}}).status_code == 200
    for process in psutil.Process(live.process.pid).children(recursive=True):
        if process.name() == "lumi::Grammars":
            process.kill()
            break
    else:
        raise AssertionError("there is no such process")
    assert post(live, {**body, "structured_outputs": {"regex": "one|two|three"}}).status_code == 200
    assert_answers(live)
