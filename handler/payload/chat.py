"""The JSON object of a chat completion request -> ChatRequest; an error names the JSON path."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from handler.errors import InvalidRequest
from handler.payload import adapter_choice
from handler.payload.fields import (
    MAX_UNKNOWN_FIELDS,
    expect,
    json_type,
    optional,
    pop_superseded_length,
    present,
    shorten,
    unknown_fields,
)
from handler.payload.parts import Part, content_part
from handler.payload.requests import ChatMessage, ChatRequest

MAX_MESSAGES = 5_000  # and content parts of all messages together
MAX_CHATS = 1000  # of a batch
# What vLLM's batches do not have (its BatchChatCompletionRequest, 0.32, 2026-11-22), and the value that asks for none of it.
NOT_IN_BATCHES: Mapping[str, Any] = {"stream": False, "n": 1, "use_beam_search": False, "tools": None}
OWN = frozenset({"messages", "model", "stream", adapter_choice.FIELD})
# Other roles are the chat template's: it knows which it has, and whether their messages need content. It prints them, so
# that they may not contain an image placeholder.
_ROLE = re.compile(r"[\w .-]{1,100}")
WITH_CONTENT = ("system", "developer", "user")
# Fields of a message, besides role and content, that a chat template may use.
MESSAGE_FIELDS = frozenset(
    {
        "name",
        "tool_calls",
        "tool_call_id",
        "function_call",
        "refusal",
        "reasoning",
        "reasoning_content",
        "tools",
        "task",
    }
)
# Values that ask for nothing, which clients without tools send. vLLM 0.32 refuses `"tools": []` (its protocol.py, 2026-11-22).
ASKS_NOTHING: Mapping[str, Any] = {"functions": [], "function_call": "none", "tools": []}
# Fields of other schemas or servers that would change the response: ignoring them would be misleading.
MISLEADING = {
    "functions": "use `tools`",
    "function_call": "use `tool_choice`",
    "max_new_tokens": "use `max_tokens`",
    "inputs": "a request has `messages` or `inputs`, not both",
    "prompt": "a request has `messages` or `prompt`, not both",
    # They name other hosts and the memory of other engines; vLLM expects them from a trusted router only.
    "kv_transfer_params": "clients may not send it",
    "ec_transfer_params": "clients may not send it",
}


def parse_chat_request(
    payload: Mapping[str, Any],
    known: frozenset[str],
    adapter: str | None = None,
    template_words: frozenset[str] = frozenset(),
    path: str = "messages",
) -> ChatRequest:
    """Parse a chat completion request. `known` are the parameters that the engine knows, `adapter` is the one that the
    header names, `template_words` are the words of the chat template, and `path` is the JSON path of the messages.

    Raises InvalidRequest with the JSON path of the first fault. A parameter that is close to a known one is a fault; any
    other unknown one is reported in `ignored`, since clients of other servers send such (`store`, `metadata`). So is a
    field of a content part that the chat template does not name.
    """
    payload = _without_empty_requests(present(payload))
    ignored = unknown_fields(payload, known | OWN, MISLEADING)
    messages = expect(payload, "messages", list, "", "a list of messages")
    if not messages:
        raise InvalidRequest(f"`{path}` is empty; a chat completion needs at least one message.", param=path)
    _check_count(messages, path)
    model = optional(payload, "model", str, "", "a string") or None
    stream = optional(payload, "stream", bool, "", "true or false") or False
    parameters = {name: value for name, value in payload.items() if name in known and name not in OWN}
    ignored += pop_superseded_length(parameters)
    return ChatRequest(
        messages=tuple(_message(one, f"{path}[{i}]", ignored, template_words) for i, one in enumerate(messages)),
        model=model,
        stream=stream,
        parameters=parameters,
        ignored=tuple(ignored),
        adapter=adapter_choice.adapter_of(payload, adapter),
    )


def parse_chat_batch(
    payload: Mapping[str, Any],
    known: frozenset[str],
    adapter: str | None = None,
    template_words: frozenset[str] = frozenset(),
) -> Iterator[ChatRequest]:
    """The requests of a batch, in which `messages` is a list of conversations. As for `parse_chat_request` otherwise."""
    payload = _without_empty_requests(present(payload))
    for name, alone in NOT_IN_BATCHES.items():
        if payload.get(name, alone) != alone:
            raise InvalidRequest(
                f"`{name}` is not supported for several conversations; send each to /v1/chat/completions.", param=name
            )
    chats = expect(payload, "messages", list, "", "a list of conversations, each a list of messages")
    if not 0 < len(chats) <= MAX_CHATS:
        raise InvalidRequest(f"`messages` must have 1 to {MAX_CHATS} conversations.", param="messages")
    for i, chat in enumerate(chats):
        if not isinstance(chat, list):
            where = f"messages[{i}]"
            raise InvalidRequest(f"`{where}` is {json_type(chat)}; it must be a list of messages.", param=where)
    _check_count([message for chat in chats for message in chat], "messages")
    for i, chat in enumerate(chats):
        yield parse_chat_request({**payload, "messages": chat}, known, adapter, template_words, path=f"messages[{i}]")


def _without_empty_requests(payload: dict[str, Any]) -> dict[str, Any]:
    asked = {name: value for name, value in payload.items() if ASKS_NOTHING.get(name, ...) != value}
    if "tools" in payload and "tools" not in asked and asked.get("tool_choice") in ("auto", "none"):
        del asked["tool_choice"]
    return asked


def _check_count(messages: list[Any], path: str) -> None:
    if (count := len(messages) + sum(map(_part_count, messages))) > MAX_MESSAGES:
        raise InvalidRequest(
            f"`{path}` has {count} messages and content parts; the maximum is {MAX_MESSAGES}.", param=path
        )


def _part_count(message: Any) -> int:
    content = message.get("content") if isinstance(message, dict) else None
    return len(content) if isinstance(content, list) else 0


def _message(message: Any, path: str, ignored: list[str], template_words: frozenset[str]) -> ChatMessage:
    if not isinstance(message, dict):
        raise InvalidRequest(f"`{path}` is {json_type(message)}; a message is an object.", param=path)
    role = expect(message, "role", str, path, "a string")
    if not _ROLE.fullmatch(role):
        raise InvalidRequest(
            f"`{path}.role` is {shorten(role)!r}; it must be a role of the chat template, such as user.",
            param=f"{path}.role",
        )
    message = present(message)
    fields = {name: value for name, value in message.items() if name in MESSAGE_FIELDS}
    unknown = [name for name in message if name not in MESSAGE_FIELDS and name not in ("role", "content")]
    if len(unknown) > MAX_UNKNOWN_FIELDS:
        raise InvalidRequest(
            f"`{path}` has {len(unknown)} unknown fields, such as `{shorten(unknown[0])}`.", param=path
        )
    ignored.extend(f"{path}.{name}" for name in unknown)
    if "tool_calls" in fields:
        _check_tool_calls(fields["tool_calls"], f"{path}.tool_calls")
    if "reasoning_content" in fields:  # the name that vLLM had before `reasoning`
        fields.setdefault("reasoning", fields.pop("reasoning_content"))
    content = _content(message.get("content"), role, f"{path}.content", ignored)
    for i, part in enumerate(content if isinstance(content, tuple) else ()):
        ignored.extend(f"{path}.content[{i}].{name}" for name in part.fields if name not in template_words)
    return ChatMessage(role=role, content=content, fields=fields)


def _content(content: Any, role: str, path: str, ignored: list[str]) -> str | tuple[Part, ...] | None:
    if isinstance(content, str):
        return content
    if content is not None and not isinstance(content, list):
        raise InvalidRequest(f"`{path}` is {json_type(content)}; it must be a string or a list of parts.", param=path)
    if content:
        return tuple(content_part(part, f"{path}[{i}]", ignored) for i, part in enumerate(content))
    if role not in WITH_CONTENT:
        return None
    wrong = "missing" if content is None else "an empty list"
    raise InvalidRequest(f"`{path}` is {wrong}; a {role} message needs text or a list of parts.", param=path)


def _check_tool_calls(calls: Any, path: str) -> None:
    if not isinstance(calls, list):
        raise InvalidRequest(f"`{path}` is {json_type(calls)}; it must be a list.", param=path)
    for i, call in enumerate(calls):
        where = f"{path}[{i}]"
        function = expect(call, "function", dict, where, "an object") if isinstance(call, dict) else None
        if function is None:
            raise InvalidRequest(f"`{where}` is {json_type(call)}; a tool call is an object.", param=where)
        expect(function, "name", str, f"{where}.function", "a string")
        if not isinstance(function.get("arguments", ""), str | dict):
            raise InvalidRequest(
                f"`{where}.function.arguments` must be JSON text.", param=f"{where}.function.arguments"
            )
