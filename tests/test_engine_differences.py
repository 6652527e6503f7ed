"""vLLM's own answers, recorded by tests/vllm_requests.py, and ours to the same requests: equal, or a difference with its reason."""

import json
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tests.vllm_requests import RECORDED, ask, requests

DIFFERENCES = json.loads((Path(__file__).parent / "published" / "vllm_differences.json").read_text())
VLLM = json.loads(RECORDED.read_text())["verdicts"]


def test_every_request_has_been_recorded():
    assert [name for name, _, _ in requests()] == list(VLLM)


@pytest.mark.engine
def test_an_answer_is_vllms_or_differs_for_a_reason(live):
    ours = ask(live.client)
    differing = {name for name, verdict in VLLM.items() if ours[name] != verdict}
    explained = {name: [one for one in DIFFERENCES if _covers(one, name, ours[name])] for name in differing}
    assert [(name, VLLM[name], ours[name]) for name in differing if not explained[name]] == []
    used = [one for found in explained.values() for one in found]
    assert [one for one in DIFFERENCES if one not in used] == [], "these are no differences any more"


def _covers(difference, name, ours):
    statuses = (VLLM[name]["status"], ours["status"])
    return statuses == (difference["vllm"], difference["here"]) and any(
        fnmatchcase(name, pattern.replace("[", "[[]")) for pattern in difference["requests"]
    )
