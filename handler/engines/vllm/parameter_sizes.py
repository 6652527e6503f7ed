"""Sizes of parameters that cost the front end more than they should: vLLM tokenizes `bad_words` on the event loop, and
copies, checks and renders the others there. What it bounds itself, the number of `stop` for one, is not here."""

from collections.abc import Mapping
from typing import Any

from handler.errors import InvalidRequest

ENTRIES = {
    "bad_words": 128,
    "logit_bias": 10_000,
    "stop_token_ids": 10_000,
    "allowed_token_ids": 10_000,
    "logprob_token_ids": 1000,
}
# Characters of all texts together. A megabyte of `bad_words` takes ten seconds, one of template arguments a tenth.
CHARACTERS = {
    "bad_words": 10_000,
    "stop": 100_000,
    "chat_template_kwargs": 2**20,
    "documents": 4 * 2**20,
    "vllm_xargs": 10_000,
}


def check_sizes(parameters: Mapping[str, Any]) -> None:
    """Raises InvalidRequest with the first parameter that is over its limit, and the limit."""
    for name, limit in ENTRIES.items():
        value = parameters.get(name)
        if isinstance(value, list | dict) and len(value) > limit:
            raise InvalidRequest(f"`{name}` may have at most {limit} entries; it has {len(value)}.", param=name)
    for name, limit in CHARACTERS.items():
        if _exceeds(parameters.get(name), limit):
            raise InvalidRequest(f"`{name}` may have at most {limit} characters altogether.", param=name)


def _exceeds(value: object, limit: int) -> bool:
    """Whether `value` has more characters, with one for each value in it."""
    waiting, count = [value], 0
    while waiting and count <= limit:
        found = waiting.pop()
        count += 1 + (len(found) if isinstance(found, str) else 0)
        if isinstance(found, Mapping):
            waiting += [*found, *found.values()]
        elif isinstance(found, list):
            waiting += found
    return count > limit
