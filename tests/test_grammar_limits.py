"""Grammars over a limit are refused without a compiler; tests/test_grammar_trials.py has the compilers."""

import pytest

from handler.engines.vllm.grammars.limits import GrammarLimits, grammar_path
from handler.errors import InvalidRequest
from tests.grammar_cases import HARMFUL, OVER_A_LIMIT, USEFUL, parentheses

LIMITS = GrammarLimits()


def refusal(parameters, limits=LIMITS):
    with pytest.raises(InvalidRequest) as refused:
        limits.check(parameters)
    return refused.value


@pytest.mark.parametrize("name", USEFUL)
def test_a_useful_grammar_is_within_the_limits(name):
    LIMITS.check({"structured_outputs": USEFUL[name]})


@pytest.mark.parametrize("name", HARMFUL)
def test_some_harmful_ones_are_too(name):
    LIMITS.check({"structured_outputs": HARMFUL[name][0]})


@pytest.mark.parametrize("name", OVER_A_LIMIT)
def test_a_grammar_over_a_limit_is_refused_with_its_path(name):
    (kind,) = OVER_A_LIMIT[name]
    refused = refusal({"structured_outputs": OVER_A_LIMIT[name]})
    assert refused.param == f"structured_outputs.{kind}"
    assert str(refused).startswith("The grammar may ")


@pytest.mark.parametrize(
    ("parameters", "path"),
    [
        ({"guided_regex": parentheses(100)}, "guided_regex"),
        ({"guided_choice": ["a"] * 30_000}, "guided_choice"),
        ({"response_format": {"json_schema": {"schema": {"pattern": parentheses(100)}}}}, "response_format"),
        ({"response_format": {"format": {"type": "grammar", "grammar": parentheses(100)}}}, "response_format"),
        ({"tools": [{"function": {"parameters": {"patternProperties": {parentheses(100): {}}}}}]}, "tools"),
    ],
)
def test_every_field_that_becomes_a_grammar_is_checked(parameters, path):
    assert refusal({"temperature": 0, **parameters}).param == path
    assert grammar_path(parameters) == path


def test_the_size_is_an_option():
    small = GrammarLimits(max_bytes=20)
    small.check({"structured_outputs": {"regex": "a" * 20}})
    for grammar in ({"regex": "a" * 21}, {"choice": ["a" * 10, "b" * 10]}, {"json": {"k" * 21: 1}}):
        refused = refusal({"structured_outputs": grammar}, small)
        assert "at most 20 bytes" in str(refused)
        assert "OPTION_GRAMMAR_MAX_BYTES" in str(refused)


@pytest.mark.parametrize(
    "grammar",
    [
        {"regex": r"\(" * 100 + r"[(]" * 100 + "a" * 1000},
        {"regex": "[a-z]{1,1000}[0-9]{1,1000}.{0,1000}"},
        {"regex": "(a{1,100}b){1,100}"},
        {"regex": ")" * 200 + "]}{"},
        {"regex": "a{" + "9" * 5000 + "}"},
        {"grammar": 'root ::= "' + "(" * 100 + '"'},
        {"json": {"description": parentheses(1000), "enum": [parentheses(1000)]}},
        {"json": '{"description": "' + "{[" * 1000 + '"}'},
        {"json": "{"},
    ],
)
def test_what_only_looks_nested_or_repeated_is_not_refused(grammar):
    LIMITS.check({"structured_outputs": grammar})


def test_a_request_without_a_grammar_passes():
    LIMITS.check({"structured_outputs": None, "response_format": None, "tools": None, "stop": ["a"]})
    assert grammar_path({"tools": []}) == "tools"
