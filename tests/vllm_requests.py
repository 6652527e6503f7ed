"""Requests for vLLM's own server and for ours: every parameter with usual, extreme and wrong values, every shape of a message.

`python -m tests.vllm_requests http://127.0.0.1:8000` records what a vLLM says that serves the model that ships:
`python -m vllm.entrypoints.openai.api_server --model demo/model --served-model-name lumi-demo --dtype float32
--enable-auto-tool-choice --tool-call-parser hermes`.
"""

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from tests.drawn import url

AT_ONCE = 4
RECORDED = Path(__file__).parent / "published" / "vllm_verdicts.json"
IMAGE = {"type": "image_url", "image_url": {"url": "IMAGE"}}
ASK = {"role": "user", "content": [IMAGE, {"type": "text", "text": "What is in the image?"}]}
HI = {"role": "user", "content": "hi"}
CALL = {"id": "a", "type": "function", "function": {"name": "look", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer", "maximum": 9}}, "required": ["a"]}

WRONG: list[Any] = [None, "x", [], {}]
NUMBERS: dict[str, list[Any]] = {
    "max_tokens": [1, 3, 0, -1, 2.0, 2.5, 99999, True],
    "temperature": [0, 0.0, -1, 1e9],
    "top_p": [0.5, 1, 0, 1.5, -1],
    "top_k": [1, 5, 0, -1, -2, 1.5],
    "min_p": [0, 0.5, 1, 2, -0.1],
    "seed": [0, 7, -1, 2**63, 1.5],
    "n": [1, 2, 0, -1, 1.5],
    "presence_penalty": [0, 2, -2, 3, -3],
    "frequency_penalty": [0, 2, -2, 3, -3],
    "repetition_penalty": [1, 1.5, 0, -1],
    "min_tokens": [0, 2, -1, 50],
    "length_penalty": [1, 0.5],
    "truncate_prompt_tokens": [1, 20, 0, -1, -2],
    "priority": [0, 5],
    "prompt_logprobs": [0, 1, -1, -2, 99],
}
OTHERS: dict[str, list[Any]] = {
    "stop": ["red", ["red", "a"], [""], [1], ["a", "b", "c", "d", "e"]],
    "stop_token_ids": [[], [5], [-1], ["5"], [10**9]],
    "bad_words": [[], ["red"], [1], [""]],
    "allowed_token_ids": [[5, 6], [], [-1], [10**9]],
    "logit_bias": [{}, {"5": 1}, {"5": 101}, {"x": 1}, {"-1": 1}],
    "ignore_eos": [True, False, "yes", 1],
    "skip_special_tokens": [True, False, "no"],
    "include_stop_str_in_output": [True, 0],
    "spaces_between_special_tokens": [False],
    "add_special_tokens": [True, False, 3],
    "echo": [True, False],
    "stream_options": [{"include_usage": True}, {}, "x"],
    "user": ["me", 5],
    "cache_salt": ["salt", "", 5],
    "return_token_ids": [True, "x"],
    "vllm_xargs": [{"a": 1}, {"a": {}}],
    "use_beam_search": [True],
    "reasoning_effort": ["low", "none", "huge"],
}
OF_CHATS: dict[str, list[Any]] = {
    "logprobs": [True, False, 1],
    "top_logprobs": [0, 1, -2, 99],
    "max_completion_tokens": [1, 0, -1],
    "response_format": [
        {"type": "text"},
        {"type": "json_object"},
        {"type": "json_schema"},
        {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}},
        {"type": "yaml"},
    ],
    "structured_outputs": [
        {"choice": ["yes", "no"]},
        {"regex": "[0-9]{3}"},
        {"regex": "("},
        {"json": SCHEMA},
        {"choice": ["a"], "regex": "b"},
        {"choice": []},
    ],
    "tools": [[TOOL], [{}], [{"type": "function"}], [{"type": "function", "function": {}}], "x"],
    "tool_choice": ["none", "auto", "required", "other", {"type": "function", "function": {"name": "look"}}],
    "chat_template": ["{{ messages }}"],
    "chat_template_kwargs": [{}, {"a": 1}, "x"],
    "documents": [[], [{"title": "a", "text": "b"}], [{"title": 1}]],
    "add_generation_prompt": [True, False, "x"],
    "continue_final_message": [True],
    "parallel_tool_calls": [True, False],
    "include_reasoning": [True, False],
    "functions": [[]],
    "function_call": ["none"],
    "mm_processor_kwargs": [{}, {"size": 3}],
    "model": ["lumi-demo", "", "gpt-4", 5],
    "store": [True],
    "metadata": [{"a": "b"}],
    "reasoning_format": ["parsed"],
    "models": [["a"]],
}
OF_TEXTS: dict[str, list[Any]] = {
    "logprobs": [0, 2, -1, 99, True],
    "prompt": ["", "hi", ["a", "b"], [5, 6], [[5], [6, 7]], [], [[]], 5, [10**9], "what is <image> here", ["a", 5]],
    "suffix": ["x"],
    "model": ["lumi-demo", "", "gpt-4"],
    "best_of": [1, 3],
}
MESSAGES: dict[str, Any] = {
    "none": [],
    "no list": "hi",
    "a text in the list": ["hi"],
    "no role": [{"content": "hi"}],
    "a role of nobody": [HI, {"role": "robot", "content": "hi"}],
    "system": [{"role": "system", "content": "be brief"}, HI],
    "system in parts": [{"role": "system", "content": [{"type": "text", "text": "be brief"}]}, HI],
    "developer": [{"role": "developer", "content": "be brief"}, HI],
    "user absent": [{"role": "user"}],
    "user null": [{"role": "user", "content": None}],
    "user without parts": [{"role": "user", "content": []}],
    "user of a number": [{"role": "user", "content": 5}],
    "user of an empty text": [{"role": "user", "content": ""}],
    "assistant last": [HI, {"role": "assistant", "content": "hello"}],
    "assistant absent": [HI, {"role": "assistant"}, HI],
    "assistant null": [HI, {"role": "assistant", "content": None}, HI],
    "assistant without parts": [HI, {"role": "assistant", "content": []}, HI],
    "assistant thinking": [HI, {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}]}, HI],
    "assistant refusal": [HI, {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}, HI],
    "assistant no calls": [HI, {"role": "assistant", "content": "x", "tool_calls": []}, HI],
    "assistant null calls": [HI, {"role": "assistant", "content": "x", "tool_calls": None}, HI],
    "assistant calls": [
        HI,
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
    ],
    "tool absent": [HI, {"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "a"}],
    "tool null": [
        HI,
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "a", "content": None},
    ],
    "reasoning of before": [HI, {"role": "assistant", "content": "x", "reasoning_content": "hm"}, HI],
    "a name": [{**HI, "name": "me"}],
    "a field of nobody": [{**HI, "mood": "good"}],
    "two images": [{"role": "user", "content": [IMAGE, IMAGE, {"type": "text", "text": "What is in the images?"}]}],
    "an image in a later turn": [HI, {"role": "assistant", "content": "hello"}, ASK],
    "a mark in a text": [{"role": "user", "content": "what is <image> in HTML?"}],
}
PARTS: dict[str, Any] = {
    "without type": {"text": "hi"},
    "of an unknown type": {"type": "hologram"},
    "of a number": 5,
    "a bare text": "hi",
    "text null": {"type": "text", "text": None},
    "text of a number": {"type": "text", "text": 5},
    "text with a field": {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}},
    "text with a null": {"type": "text", "text": "hi", "image_url": None},
    "input_text": {"type": "input_text", "text": "hi"},
    "image of a text": {"type": "image_url", "image_url": "IMAGE"},
    "image without url": {"type": "image_url", "image_url": {}},
    "image null": {"type": "image_url", "image_url": None},
    "image without type": {"image_url": {"url": "IMAGE"}},
    "image with a null": {"type": "image_url", "image_url": {"url": "IMAGE", "detail": None}, "text": None},
    "image low": {"type": "image_url", "image_url": {"url": "IMAGE", "detail": "low"}},
    "image original": {"type": "image_url", "image_url": {"url": "IMAGE", "detail": "original"}},
    "image 4k": {"type": "image_url", "image_url": {"url": "IMAGE", "detail": "4k"}},
    "input_image": {"type": "input_image", "image_url": "IMAGE", "detail": "auto"},
    "image of no image": {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    "image of no base64": {"type": "image_url", "image_url": {"url": "data:image/png;base64,!!"}},
    "image of a file": {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}},
    "image of a scheme": {"type": "image_url", "image_url": {"url": "ftp://a/b"}},
    "audio": {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    "video": {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}},
}


def requests() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The name of each request, its route and its body."""
    chat = {"messages": [ASK], "temperature": 0, "max_tokens": 8}
    text = {"prompt": "hi", "temperature": 0, "max_tokens": 8}
    for name, messages in MESSAGES.items():
        yield f"messages: {name}", "/v1/chat/completions", {**chat, "messages": messages}
        yield f"tokenize: {name}", "/tokenize", {"messages": messages}
    for name, part in PARTS.items():
        message = {"role": "user", "content": [part, {"type": "text", "text": "What is in the image?"}]}
        yield f"part: {name}", "/v1/chat/completions", {**chat, "messages": [message]}
    for kind, route, base, own in (
        ("chat", "/v1/chat/completions", chat, OF_CHATS),
        ("text", "/v1/completions", text, OF_TEXTS),
    ):
        for name, values in {**NUMBERS, **OTHERS, **own}.items():
            for value in [*values, *(one for one in WRONG if one not in values)]:
                if (name, value) == ("temperature", None):  # an answer by chance
                    continue
                yield f"{kind}: {name}={json.dumps(value)[:60]}", route, {**base, name: value}
    yield "chat: tools and a null choice", "/v1/chat/completions", {**chat, "tools": [TOOL], "tool_choice": None}
    yield "chat: tools and none", "/v1/chat/completions", {**chat, "tools": [TOOL], "tool_choice": "none"}
    yield "chat: tools and required", "/v1/chat/completions", {**chat, "tools": [TOOL], "tool_choice": "required"}
    yield "chat: no body", "/v1/chat/completions", {}
    yield "text: no body", "/v1/completions", {}


def verdict(response: httpx.Response) -> dict[str, Any]:
    """The status of a response, and of an answer its texts and tokens."""
    said: dict[str, Any] = {"status": response.status_code}
    if response.status_code == 200:
        body = response.json()
        said["texts"] = [(one.get("message") or one).get("content", one.get("text")) for one in body.get("choices", ())]
        said["tokens"] = body["count"] if "count" in body else body["usage"]["total_tokens"]
    return said


def ask(client: httpx.Client) -> dict[str, dict[str, Any]]:
    """The verdict of a server on each request."""
    image = json.dumps(url("red", "circle"))

    def post(request: tuple[str, str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
        name, route, body = request
        content = json.dumps(body).replace('"IMAGE"', image)
        return name, verdict(client.post(route, content=content, headers={"content-type": "application/json"}))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(pool.map(post, requests()))


if __name__ == "__main__":
    with httpx.Client(base_url=sys.argv[1], timeout=120) as vllm:
        version = vllm.get("/version").json()["version"]
        lines = [f"  {json.dumps(name)}: {json.dumps(said)}" for name, said in ask(vllm).items()]
    verdicts = ",\n".join(lines)
    RECORDED.write_text(f'{{\n "vllm": "{version}",\n "verdicts": {{\n{verdicts}\n }}\n}}\n')
