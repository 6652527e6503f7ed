"""What published notebooks and djl-serving's client do with a stream, done to ours: each way to read one, and where it stands.

Read on 2026-11-22 at the commits of tests/published/requests.json. All of them split what they get into lines, and some
never end unless the last one ends with a line break.
"""

import json

import pytest

from handler.engines.fake import FakeEngine
from tests.serving import ask, serving

HOSTING = "aws-samples/sagemaker-genai-hosting-examples"
PIECES = ["a ", "red", " circle"]
CHAT, TOKENS = ask("hi", stream=True), {"inputs": "hi", "stream": True}
SSE = {"accept": "text/event-stream"}


@pytest.fixture(scope="module")
def served():
    with serving(FakeEngine(replies=PIECES)) as server:
        yield server


def from_the_brace(lines):
    """JSON from the first brace of each line that has one."""
    return [json.loads(line[line.index("{") :]) for line in lines if "{" in line]


def whole_lines(lines):
    """JSON in each line that is not empty."""
    return [json.loads(line) for line in lines if line]


def data_or_json(lines):
    """JSON with or without `data: ` before it; what is neither is skipped."""
    found = []
    for line in lines:
        try:
            found.append(json.loads(line.removeprefix("data: ")))
        except ValueError:
            continue
    return found


def data_alone(lines):
    """JSON after `data:`, until [DONE]."""
    data = [line.removeprefix("data:").strip() for line in lines if line.startswith("data:")]
    return [json.loads(one) for one in data[: data.index("[DONE]") if "[DONE]" in data else None]]


def content(chunk):
    delta = chunk["choices"][0]["delta"]
    # A key that is there is taken for the text of a reasoning model.
    return delta["reasoning"] if "reasoning" in delta else delta.get("content", "")


def token(chunk):
    return chunk["token"]["text"]


READERS = [
    (CHAT, {}, from_the_brace, content, f"{HOSTING}/01-models/google/Gemma-4/gemma-4-31B.ipynb"),
    (CHAT, {}, from_the_brace, content, f"{HOSTING}/01-models/openai/gpt-oss/openai_gpt_oss.ipynb"),
    (CHAT, {}, data_or_json, content, f"{HOSTING}/01-models/Qwen/Qwen3-32B-FP8/Qwen3-32B-FP8-LMI.ipynb"),
    (
        CHAT,
        {},
        data_or_json,
        content,
        f"{HOSTING}/01-models/mistral/Magistral-Small-2506/Magistral-Small-2506-LMI.ipynb",
    ),
    (
        CHAT,
        {},
        data_or_json,
        content,
        f"{HOSTING}/07-benchmark/sagemaker-inference-benchmark-suite/scripts/benchmarker.py",
    ),
    (CHAT, {}, whole_lines, content, "deepjavalibrary/djl-serving/tests/integration/llm/client.py"),
    (CHAT, SSE, data_or_json, content, f"{HOSTING}/Llama4/Llama-4-scout-LMI-V15.ipynb"),
    # These take no JSON lines: LMI streams them to no effect, and AWS's vLLM container sends events.
    (CHAT, SSE, data_alone, content, f"{HOSTING}/Llama3.3/Llama3.3-70B-streaming.ipynb"),
    (TOKENS, SSE, data_alone, token, f"{HOSTING}/01-models/microsoft/Phi3/LMI/phi3_deploy_lmi.ipynb"),
    (TOKENS, {}, from_the_brace, token, f"{HOSTING}/Deepseek/DeepSeek-R1-LMI-FP8.ipynb"),
    (
        TOKENS,
        {},
        from_the_brace,
        token,
        "aws/amazon-sagemaker-examples/archived/workshops/OpenChat-streaming_tgi.ipynb",
    ),
    (TOKENS, {}, whole_lines, token, f"{HOSTING}/01-models/HuggingFaceH4/zephyr-7b/LMI/zephyr-7b-beta-LMI.ipynb"),
]


@pytest.mark.parametrize("reader", READERS, ids=[source.rpartition("/")[2] for *_, source in READERS])
def test_a_stream_is_read_as_its_readers_do(served, reader):
    body, headers, read, text, _ = reader
    stream = served.post(body, **headers).text
    assert stream.endswith("\n")
    assert [piece for piece in map(text, read(stream.split("\n"))) if piece] == PIECES
