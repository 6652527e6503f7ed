"""JSON of every accepted shape -> ChatRequest; an error names the JSON path."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from pydantic_core import from_json

from handler.errors import InvalidRequest

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
# What a chat template may use of a message beside its role and content.
MESSAGE_FIELDS = frozenset(
    {"name", "tool_calls", "tool_call_id", "function_call", "refusal", "reasoning", "reasoning_content", "tools"}
)
TEXT_FIELDS = frozenset({"text", "refusal"})
PICTURE_FIELDS = frozenset({"image_url", "image", "url"})
DETAILS = ("auto", "low", "high")
# Fields that would change the answer, from other schemas or for another kind of server: to ignore them would mislead.
MISLEADING = {
    "adapters": "LoRA adapters are not served here; leave it out",
    "functions": "use `tools`",
    "function_call": "use `tool_choice`",
    "max_new_tokens": "use `max_tokens`",
    "inputs": "only chat completions are served yet; use `messages`",
    "prompt": "only chat completions are served yet; use `messages`",
    # They name other hosts and memory of other engines; vLLM means them for a router that it trusts.
    "kv_transfer_params": "it is not taken from clients",
    "ec_transfer_params": "it is not taken from clients",
}
SUSPICIOUS_BYTES = 2**20
MOST_VALUES = 500_000
MOST_STRANGERS = 50  # fields without a meaning; no client of another server sends more


@dataclass(frozen=True, slots=True)
class TextPart:
    """A text in a content list; `path` is its JSON path (`messages[0].content[1]`)."""

    text: str
    path: str


@dataclass(frozen=True, slots=True)
class ImagePart:
    """A picture that the client carries or names: a data:, http: or https: URL, not yet looked at.

    `path` is the JSON path of the URL itself (`messages[0].content[1].image_url.url`).
    """

    url: str
    path: str


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message as sent: `content` is a string, the parts of a list, or None where there was none.

    `fields` holds what else the message has (`name`, `tool_calls`, `tool_call_id`, ...).
    """

    role: str
    content: str | tuple[TextPart | ImagePart, ...] | None
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A chat completion as the client asked for it; its pictures are not loaded yet.

    `parameters` holds every field but `messages`, `model` and `stream`, by its OpenAI or vLLM name, for the engine to
    validate. `ignored` holds the JSON paths of what has no meaning here, to be told to the client.
    """

    messages: tuple[ChatMessage, ...]
    model: str | None
    stream: bool
    parameters: Mapping[str, Any]
    ignored: tuple[str, ...] = ()

    def pictures(self) -> Iterator[ImagePart]:
        """Every picture of the conversation, in order."""
        for message in self.messages:
            if isinstance(message.content, tuple):
                yield from (part for part in message.content if isinstance(part, ImagePart))


def parse(body: bytes, known: frozenset[str]) -> ChatRequest:
    """Read a chat completion request; `known` are the parameters that the engine gives a meaning to.

    Raises InvalidRequest with the JSON path of the first fault. A parameter that is nearly a known one is a fault; one
    that resembles none is reported in `ignored`, since clients of other servers send such (`store`, `metadata`).
    """
    payload = _json(body)
    strangers = _strangers(payload, known)
    ignored: list[str] = []
    messages = _expect(payload, "messages", list, "", "a list of messages")
    if not messages:
        raise InvalidRequest("`messages` is empty; a chat completion needs at least one message.", param="messages")
    model = _optional(payload, "model", str, "a string")
    stream = _optional(payload, "stream", bool, "true or false") or False
    parameters = {name: value for name, value in payload.items() if name not in ("messages", "model", "stream")}
    for name in strangers:
        ignored.append(name)
        parameters.pop(name, None)
    return ChatRequest(
        messages=tuple(_message(message, f"messages[{i}]", ignored) for i, message in enumerate(messages)),
        model=model,
        stream=stream,
        parameters=parameters,
        ignored=tuple(ignored),
    )


def _json(body: bytes) -> dict[str, Any]:
    if not body.strip():
        raise InvalidRequest("The body is empty; send a JSON object with `messages`.")
    _refuse_a_swarm(body)
    try:
        payload = from_json(body, allow_inf_nan=False)
    except ValueError as fault:
        raise InvalidRequest(f"The body is not valid JSON: {fault}.", code="invalid_json") from fault
    if not isinstance(payload, dict):
        raise InvalidRequest(f"The body is {_kind(payload)}; send a JSON object with `messages`.")
    return payload


def _refuse_a_swarm(body: bytes) -> None:
    # 5 MB of base64 parse in half a millisecond; 64 MB of `[],[],` take seconds and gigabytes. Between values stand
    # commas, and to look for one that is not there costs next to nothing.
    if len(body) < SUSPICIOUS_BYTES:
        return
    position = -1
    for _ in range(MOST_VALUES):
        position = body.find(b",", position + 1)
        if position < 0:
            return
    raise InvalidRequest(f"The body has more than {MOST_VALUES} commas; no prompt is that long.", code="invalid_json")


def _strangers(payload: dict[str, Any], known: frozenset[str]) -> list[str]:
    """The fields without a meaning here. Raises InvalidRequest for one that nearly has one, or would mislead."""
    for name in MISLEADING.keys() & payload.keys():
        if payload[name] is not None:
            raise InvalidRequest(f"`{name}` has no meaning in a chat completion: {MISLEADING[name]}.", param=name)
    strangers = sorted(payload.keys() - known - MISLEADING.keys() - {"messages", "model", "stream"})
    if len(strangers) > MOST_STRANGERS:
        raise InvalidRequest(f"The body has {len(strangers)} fields without a meaning; `{short(strangers[0])}` is one.")
    for name in strangers:
        near = get_close_matches(name, known, n=1, cutoff=0.85) if len(name) < 40 else []
        if near:
            raise InvalidRequest(f"`{name}` is not a parameter; did you mean `{near[0]}`?", param=name)
    return strangers


def _message(message: Any, path: str, ignored: list[str]) -> ChatMessage:
    if not isinstance(message, dict):
        raise InvalidRequest(f"`{path}` is {_kind(message)}; a message is an object.", param=path)
    role = _expect(message, "role", str, path, "a string")
    if role not in ROLES:
        raise InvalidRequest(
            f"`{path}.role` is {short(role)!r}; it must be one of {', '.join(ROLES)}.", param=f"{path}.role"
        )
    fields = {name: value for name, value in message.items() if name in MESSAGE_FIELDS and value is not None}
    ignored.extend(
        f"{path}.{name}" for name in message if name not in MESSAGE_FIELDS and name not in ("role", "content")
    )
    if "tool_calls" in fields:
        _check_tool_calls(fields["tool_calls"], f"{path}.tool_calls")
    if "reasoning_content" in fields:  # the name that vLLM had before `reasoning`
        fields.setdefault("reasoning", fields.pop("reasoning_content"))
    return ChatMessage(role=role, content=_content(message.get("content"), role, fields, path, ignored), fields=fields)


def _content(
    content: Any, role: str, fields: Mapping[str, Any], path: str, ignored: list[str]
) -> str | tuple[TextPart | ImagePart, ...] | None:
    path = f"{path}.content"
    if isinstance(content, str):
        return content
    if content is None:
        if role == "assistant" and fields:
            return None
        raise InvalidRequest(f"`{path}` is missing; a {role} message needs text or a list of parts.", param=path)
    if not isinstance(content, list):
        raise InvalidRequest(f"`{path}` is {_kind(content)}; it must be a string or a list of parts.", param=path)
    if not content:
        raise InvalidRequest(f"`{path}` is an empty list; it needs at least one part.", param=path)
    return tuple(_part(part, f"{path}[{i}]", ignored) for i, part in enumerate(content))


def _part(part: Any, path: str, ignored: list[str]) -> TextPart | ImagePart:
    if isinstance(part, str):
        return TextPart(part, path)
    if not isinstance(part, dict):
        raise InvalidRequest(f"`{path}` is {_kind(part)}; a content part is an object with a `type`.", param=path)
    kind = part.get("type") or _implied_type(part)
    read = _PARTS.get(kind) if isinstance(kind, str) else None
    if read is None:
        accepted = ", ".join(sorted(_PARTS))
        wrong = f"`{path}` has no `type`" if kind is None else f"`{path}.type` is {short(str(kind))!r}"
        raise InvalidRequest(f"{wrong}; the accepted types are {accepted}.", param=f"{path}.type", code="unknown_part")
    if part.keys() & TEXT_FIELDS and part.keys() & PICTURE_FIELDS:
        raise InvalidRequest(f"`{path}` is a text and a picture at once; make two parts of it.", param=path)
    return read(part, path, ignored)


def _implied_type(part: dict[str, Any]) -> str | None:
    return next((name for name in ("text", "image_url") if name in part), None)


def _text(part: dict[str, Any], path: str, ignored: list[str]) -> TextPart:
    name = "refusal" if part.get("type") == "refusal" else "text"
    ignored.extend(f"{path}.{other}" for other in part if other not in ("type", name))
    return TextPart(_expect(part, name, str, path, "a string"), path)


def _image(part: dict[str, Any], path: str, ignored: list[str]) -> ImagePart:
    # A client's own `uuid` gives way to the content's hash, which is what it is for.
    name = next((name for name in ("image_url", "image", "url") if name in part), "image_url")
    ignored.extend(f"{path}.{other}" for other in part if other not in ("type", name, "detail", "uuid"))
    value, path = part.get(name), f"{path}.{name}"
    detail = part.get("detail")
    if isinstance(value, dict):
        ignored.extend(f"{path}.{other}" for other in value if other not in ("url", "detail", "uuid"))
        detail = value.get("detail", detail)
        value, path = value.get("url"), f"{path}.url"
    if detail is not None and detail not in DETAILS:
        wrong = short(str(detail))
        raise InvalidRequest(
            f"`detail` beside `{path}` is {wrong!r}; it must be one of {', '.join(DETAILS)}.", param=path
        )
    if not isinstance(value, str):
        raise InvalidRequest(f"`{path}` is {_kind(value)}; it must be a data:, http: or https: URL.", param=path)
    return ImagePart(value, path)


_PARTS: dict[str, Callable[[dict[str, Any], str, list[str]], TextPart | ImagePart]] = {
    "text": _text,
    "input_text": _text,
    "output_text": _text,
    "refusal": _text,
    "image_url": _image,
    "input_image": _image,
    "image": _image,
}


def _check_tool_calls(calls: Any, path: str) -> None:
    if not isinstance(calls, list):
        raise InvalidRequest(f"`{path}` is {_kind(calls)}; it must be a list.", param=path)
    for i, call in enumerate(calls):
        where = f"{path}[{i}]"
        function = _expect(call, "function", dict, where, "an object") if isinstance(call, dict) else None
        if function is None:
            raise InvalidRequest(f"`{where}` is {_kind(call)}; a tool call is an object.", param=where)
        _expect(function, "name", str, f"{where}.function", "a string")
        if not isinstance(function.get("arguments", ""), str | dict):
            raise InvalidRequest(
                f"`{where}.function.arguments` must be JSON text.", param=f"{where}.function.arguments"
            )


def _expect(holder: dict[str, Any], name: str, kind: type, path: str, what: str) -> Any:
    where = f"{path}.{name}" if path else name
    if name not in holder:
        raise InvalidRequest(f"`{where}` is missing; it must be {what}.", param=where)
    value = holder[name]
    if not isinstance(value, kind):
        raise InvalidRequest(f"`{where}` is {_kind(value)}; it must be {what}.", param=where)
    return value


def _optional(payload: dict[str, Any], name: str, kind: type, what: str) -> Any:
    return None if payload.get(name) is None else _expect(payload, name, kind, "", what)


def short(text: str) -> str:
    """`text` as far as a sentence may quote it."""
    return text if len(text) <= 80 else f"{text[:80]}..."


_KINDS = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), "null")
