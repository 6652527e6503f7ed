"""The grammars in a request's parameters, checked without a compiler: size, nesting, number of values, repetitions.

This refuses at once what no trial could pass, and keeps deep texts from parsers that recurse. Importing it does not import
vllm.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from handler.errors import InvalidRequest

NESTING = 80  # levels; vLLM's own limits are 64 for a schema and 80 for a structural tag
VALUES = 20_000  # values of a schema, or rules and alternatives of a grammar
REPETITIONS = 100_000  # the product of counted repetitions that are nested in each other

_MIB = 2**20
TOOLS = "tools"
_KINDS = ("json", "regex", "choice", "grammar", "structural_tag")
_EXPRESSIONS = frozenset({"regex", "grammar"})  # the texts of the others are JSON
_FIELDS = frozenset({"guided_json", "guided_regex", "guided_choice", "guided_grammar", "response_format", TOOLS})
_PATTERNS = frozenset({"pattern", "regex", "grammar", "excludes"})
# An escape, a character class, a bracket or a counted repetition. Each alternative matches in one pass, whatever follows.
_PART = r"\\.|\[(?:\\.|[^\]\\])*+\]?|(?P<open>\()|(?P<close>\))|\{(?P<least>\d{1,9})?,?(?P<most>\d{1,9})?\}"
_IN_REGEX = re.compile(_PART, re.DOTALL)
_IN_GRAMMAR = re.compile(rf'"(?:\\.|[^"\\])*+"?|{_PART}', re.DOTALL)
_IN_JSON = re.compile(r'"(?:\\.|[^"\\])*+"?|(?P<open>[\[{])|(?P<close>[\]}])', re.DOTALL)


@dataclass(frozen=True, slots=True)
class GrammarLimits:
    """`max_bytes` is of one grammar, and of all tools together. `seconds` of computing and `memory` bytes are what a trial
    may take."""

    max_bytes: int = 256 * 1024
    seconds: float = 30.0
    memory: int = 1024 * _MIB

    def check(self, parameters: Mapping[str, Any]) -> None:
        """Raises InvalidRequest with the JSON path of the first grammar that is over a limit, and the limit."""
        for path, grammar in _grammars(parameters):
            size = len(grammar) if isinstance(grammar, str) else _size(grammar, self.max_bytes)
            if size > self.max_bytes:
                raise _over(path, f"have at most {self.max_bytes} bytes; shorten it, or raise OPTION_GRAMMAR_MAX_BYTES")
            kind = path.rpartition(".")[2].removeprefix("guided_")
            if not isinstance(grammar, str):
                _check_json(grammar, path)
            elif kind in _EXPRESSIONS:
                _check_expression(grammar, path, is_regex=kind == "regex")
            else:
                _check_json_text(grammar, path)


def grammar_path(parameters: Mapping[str, Any]) -> str:
    """The JSON path of the grammar of a request with these parameters."""
    return next((path for path, _ in _grammars(parameters) if path != TOOLS), TOOLS)


def _grammars(parameters: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in parameters.items():
        if name == "structured_outputs" and isinstance(value, Mapping):
            yield from ((f"{name}.{kind}", value[kind]) for kind in _KINDS if value.get(kind) is not None)
        elif name in _FIELDS and value is not None:
            yield name, value


def _size(value: object, enough: int) -> int:
    """The length of the texts in `value`, and two bytes for each value, counted until it is more than `enough`."""
    size = 0
    for _, _, found in _walk(value):
        size += 2 + (len(found) if isinstance(found, str) else 0)
        if isinstance(found, Mapping):
            size += sum(len(key) + 2 for key in found)
        if size > enough:
            break
    return size


def _walk(value: object) -> Iterator[tuple[int, str, Any]]:
    """Every value in `value`: how deep it is, the key that it or its list has, and the value."""
    waiting: list[tuple[int, str, Any]] = [(0, "", value)]
    while waiting:
        depth, key, found = item = waiting.pop()
        yield item
        if isinstance(found, Mapping):
            waiting += ((depth + 1, str(name), below) for name, below in found.items())
        elif isinstance(found, list):
            waiting += ((depth + 1, key, below) for below in found)


def _check_json(value: object, path: str) -> None:
    for count, (depth, key, found) in enumerate(_walk(value)):
        if depth > NESTING:
            raise _too_deep(path)
        if count >= VALUES:
            raise _over(path, f"have at most {VALUES} values")
        if isinstance(found, str) and key in _PATTERNS:
            _check_expression(found, path, is_regex=key != "grammar")
        elif key == "patternProperties" and isinstance(found, Mapping):
            for pattern in found:
                _check_expression(pattern, path, is_regex=True)


def _check_json_text(text: str, path: str) -> None:
    depth = 0
    for token in _IN_JSON.finditer(text):
        depth += (token["open"] is not None) - (token["close"] is not None)
        if depth > NESTING:
            raise _too_deep(path)
    try:
        value = json.loads(text)
    except ValueError:
        return  # vLLM says what is wrong with it
    _check_json(value, path)


def _check_expression(text: str, path: str, *, is_regex: bool) -> None:
    """Check a regular expression, or the rules of a grammar in EBNF or Lark."""
    if not is_regex and text.count("|") + text.count("\n") > VALUES:
        raise _over(path, f"have at most {VALUES} rules and alternatives")
    groups = [1]  # for each group that is open, the largest product of repetitions in it
    closed, end = 1, -1  # the product in the group that was closed last, and where that was
    for number, token in enumerate((_IN_REGEX if is_regex else _IN_GRAMMAR).finditer(text)):
        if number > VALUES:
            raise _over(path, f"have at most {VALUES} groups, classes and repetitions")
        if token["open"]:
            groups.append(1)
            if len(groups) > NESTING:
                raise _too_deep(path)
        elif token["close"] and len(groups) > 1:
            closed, end = groups.pop(), token.end()
            groups[-1] = max(groups[-1], closed)
        elif most := token["most"] or token["least"]:
            inner = closed if token.start() == end else 1
            groups[-1] = max(groups[-1], inner * max(1, int(most)))
            if inner > 1 and groups[-1] > REPETITIONS:
                raise _over(
                    path, f"repeat a part of itself at most {REPETITIONS} times; use smaller counts, or * and +"
                )


def _too_deep(path: str) -> InvalidRequest:
    return _over(path, f"be nested at most {NESTING} levels deep")


def _over(path: str, limit: str) -> InvalidRequest:
    return InvalidRequest(f"The {'tools' if path == TOOLS else 'grammar'} may {limit}.", param=path)
