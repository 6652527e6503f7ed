"""Grammars that must be served, and grammars that harm a compiler, as `structured_outputs`."""

import json


def _objects(count):
    """A schema of `count` objects that refer to each other, as an OpenAPI document has them."""

    def one(number):
        fields = {f"field_{number}_{i}": {"type": "string", "description": "what it is"} for i in range(8)}
        below = {"$ref": f"#/$defs/Object{(number * 5 + 1) % count}"}
        kind = {"enum": [f"kind {i}" for i in range(6)]}
        properties = {**fields, "kind": kind, "below": below, "list": {"type": "array", "items": below}}
        return {"type": "object", "properties": properties, "required": ["kind", *fields]}

    return {"$defs": {f"Object{i}": one(i) for i in range(count)}, "$ref": "#/$defs/Object0"}


def references(length):
    """A schema whose objects refer to each other in a chain."""
    chain = {f"d{i}": {"type": "object", "properties": {"a": {"$ref": f"#/$defs/d{i + 1}"}}} for i in range(length)}
    return {"$defs": {**chain, f"d{length}": {"type": "string"}}, "$ref": "#/$defs/d0"}


def parentheses(depth):
    return "(" * depth + "a" + ")" * depth


def _property(schema):
    return {"type": "object", "properties": {"value": schema}, "required": ["value"]}


def _tag(depth):
    opened = '{"type":"sequence","elements":[' * depth
    return '{"type":"structural_tag","format":' + opened + '{"type":"const_string","value":"a"}' + "]}" * depth + "}"


USEFUL = {
    "a small schema": {"json": _property({"enum": ["red", "blue"]})},
    "a schema of 100 kB": {"json": _objects(100)},
    "5,000 values": {"json": _property({"enum": [f"value number {i}" for i in range(5000)]})},
    "1,000 choices": {"choice": [f"choice number {i}" for i in range(1000)]},
    "an address": {"regex": r"[a-z0-9._]{1,64}@[a-z0-9.]{1,200}\.[a-z]{2,10}"},
    "rules": {"grammar": 'root ::= "a" ("b" | "c"){1,50}'},
    "Lark": {"grammar": 'start: "a" ("b" | "c")+'},
    "a tag": {"structural_tag": _tag(2)},
    "any object": {"json_object": True},
}
# Refused before any compiler reads them.
OVER_A_LIMIT = {
    "repetitions of repetitions": {"regex": "(.{0,500}){0,500}"},
    "three levels of repetitions": {"regex": "((a{1,1000}){1,1000}){1,1000}"},
    "repetitions in rules": {"grammar": 'root ::= (("a"{1,1000}){1,1000}){1,1000}'},
    "100,000 choices": {"choice": [f"c{i}" for i in range(100_000)]},
    "a deep pattern": {"json": {"type": "string", "pattern": parentheses(30_000)}},
    "a deep pattern in JSON text": {"json": json.dumps({"type": "string", "pattern": parentheses(30_000)})},
    "a deep regular expression": {"regex": parentheses(30_000)},
    "deep rules": {"grammar": f"root ::= {parentheses(20_000).replace('a', chr(34) + 'a' + chr(34))}"},
    "deep Lark": {"grammar": f"start: {parentheses(20_000).replace('a', chr(34) + 'a' + chr(34))}"},
    "50,000 references": {"json": references(50_000)},
    "a deep tag": {"structural_tag": _tag(2000)},
    "a deep schema in JSON text": {"json": '{"not":' * 30_000 + "{}" + "}" * 30_000},
    "20,000 rules": {"grammar": "\n".join(f"r{i} ::= r{i + 1}" for i in range(20_001))},
}
# Within the limits: only a trial shows what they do, which the message says.
HARMFUL = {
    "a chain of references": ({"json": references(3900)}, "too deeply for the compiler"),
    "9,000 choices": ({"choice": [f"choice number {i}" for i in range(9000)]}, "OPTION_GRAMMAR_COMPILE_TIMEOUT"),
    "an ambiguous expression": ({"regex": r"(\w+\s?){1,200}[^\x00-\x7f]{0,300}"}, "too ambiguous"),
}
