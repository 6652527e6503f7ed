import json

import pytest

from handler.errors import InvalidRequest
from handler.payload.body import json_object
from handler.payload.chat import parse_chat_request
from handler.payload.parts import EmbedsPart, ImagePart, TextPart

KNOWN = frozenset({"max_tokens", "temperature", "tools", "stop"})
URL = "data:image/png;base64,AA=="
CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def read(*messages, words=frozenset(), **fields):
    return parse_chat_request({"messages": list(messages), **fields}, KNOWN, template_words=words)


def user(*content):
    return {"role": "user", "content": list(content)}


def refused(*messages, **fields):
    with pytest.raises(InvalidRequest) as refusal:
        read(*messages, **fields)
    return refusal.value


def test_string_content_stays_a_string_and_a_list_stays_parts():
    request = read({"role": "user", "content": "hi"}, user({"type": "text", "text": "yo"}))
    assert request.messages[0].content == "hi"
    assert request.messages[1].content == (TextPart("yo", "messages[1].content[0]"),)


@pytest.mark.parametrize(
    ("part", "path"),
    [
        ({"type": "image_url", "image_url": {"url": URL}}, "image_url.url"),
        ({"type": "image_url", "image_url": {"url": URL, "detail": "low"}}, "image_url.url"),
        ({"type": "image_url", "image_url": URL}, "image_url"),
        ({"image_url": {"url": URL}}, "image_url.url"),
        ({"type": "input_image", "image_url": URL}, "image_url"),
        ({"type": "image", "image": URL}, "image"),
        ({"type": "image", "url": URL}, "url"),
    ],
)
def test_every_published_shape_of_an_image_is_read(part, path):
    assert read(user(part)).messages[0].content == (ImagePart(URL, f"messages[0].content[0].{path}"),)


@pytest.mark.parametrize("kind", ["text", "input_text", "output_text"])
def test_every_shape_of_a_text_is_read(kind):
    assert read(user({"type": kind, "text": "t"}, "plain")).messages[0].content == (
        TextPart("t", "messages[0].content[0]"),
        TextPart("plain", "messages[0].content[1]"),
    )


def test_images_are_listed_in_the_order_of_the_conversation():
    one, two, three = ({"type": "image_url", "image_url": f"{URL}{i}"} for i in range(3))
    request = read(user(one, two), {"role": "assistant", "content": "ok"}, user(three))
    assert [image.url[-1] for image in request.images()] == ["0", "1", "2"]


def test_an_assistant_turn_of_tool_calls_needs_no_content():
    request = read({"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "a", "content": "1"})
    assert request.messages[0].content is None
    assert request.messages[0].fields == {"tool_calls": [CALL]}
    assert request.messages[1].fields == {"tool_call_id": "a"}


@pytest.mark.parametrize("content", [{}, {"content": None}, {"content": []}])
@pytest.mark.parametrize("turn", [{"role": "assistant"}, {"role": "tool", "tool_call_id": "a"}, {"role": "critic"}])
def test_a_turn_that_is_not_the_users_needs_no_content(turn, content):
    assert read({**turn, **content}).messages[0].content is None


def test_thinking_is_a_text_of_the_turn():
    turn = {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "s"}]}
    (message,) = read(turn, words=frozenset({"signature"})).messages
    assert message.content == (TextPart("hm", "messages[0].content[0]", {"signature": "s"}),)


def test_other_roles_are_the_templates():
    assert [message.role for message in read({"role": "ipython", "content": "1"}).messages] == ["ipython"]


@pytest.mark.parametrize("role", ["", "<image>", "<|image_pad|>", "r" * 101])
def test_a_role_is_a_word_that_no_template_takes_for_an_image(role):
    assert refused({"role": role, "content": "hi"}).param == "messages[0].role"


def test_further_fields_of_a_part_are_the_templates():
    codes = {"source_lang_code": "cs", "target_lang_code": "de-DE"}
    parts = user({"type": "text", "text": "t", **codes}, {"type": "image", "url": URL, **codes})
    request = read(parts, words=frozenset({"source_lang_code"}))
    assert [part.fields for part in request.messages[0].content] == [codes, codes]
    # It does nothing with what it does not name.
    assert request.ignored == tuple(f"messages[0].content[{i}].target_lang_code" for i in range(2))


def test_parameters_are_handed_on_as_they_came():
    request = read({"role": "user", "content": "hi"}, model="m", stream=True, max_tokens=5)
    assert (request.model, request.stream) == ("m", True)
    assert request.parameters == {"max_tokens": 5}


def test_a_null_field_is_absent_wherever_it_stands():
    nothing = {"name": None, "tool_calls": None, "weight": None}
    image = {"type": "image_url", "image_url": {"url": URL, "detail": None}, "text": None}
    text = {"type": "text", "text": "t", "image_url": None, "cache_control": None}
    unused = dict.fromkeys(("model", "stream", "temperature", "functions", "max_token", "store"))
    request = read({**user(image, text), **nothing}, **unused)
    assert request == read(user({"type": "image_url", "image_url": {"url": URL}}, {"type": "text", "text": "t"}))
    assert request.ignored == ()


def test_an_empty_model_is_absent():
    assert read({"role": "user", "content": "hi"}, model="").model is None


@pytest.mark.parametrize(
    "nothing",
    [
        {"tools": []},
        {"tools": [], "tool_choice": "auto"},
        {"tools": [], "tool_choice": "none"},
        {"functions": []},
        {"functions": [], "function_call": "none"},
    ],
)
def test_no_tools_are_not_tools(nothing):
    known = KNOWN | {"tool_choice"}
    request = parse_chat_request({"messages": [{"role": "user", "content": "hi"}], **nothing}, known)
    assert (request.parameters, request.ignored) == ({}, ())


def test_no_tools_of_which_one_must_be_called_are_left_to_the_engine():
    known = KNOWN | {"tool_choice"}
    asked = {"messages": [{"role": "user", "content": "hi"}], "tools": [], "tool_choice": "required"}
    assert parse_chat_request(asked, known).parameters == {"tool_choice": "required"}


def test_what_has_no_meaning_is_reported_with_its_path():
    part = {"type": "text", "text": "t", "cache_control": {}}
    request = read({"role": "user", "content": [part], "mood": 1}, store=True)
    assert request.ignored == ("store", "messages[0].mood", "messages[0].content[0].cache_control")
    assert "store" not in request.parameters


@pytest.mark.parametrize(
    "part",
    [
        {"type": "text", "text": "t", "image_url": {"url": URL}},
        {"type": "image_url", "image_url": {"url": URL}, "text": "t"},
        {"text": "t", "image_url": {"url": URL}},
    ],
)
def test_a_part_that_is_a_text_and_an_image_is_refused(part):
    assert refused(user(part)).param == "messages[0].content[0]"


def test_what_has_no_meaning_inside_a_part_is_reported():
    image = {"type": "image_url", "image_url": {"url": URL, "size": 3}, "x": 1, "uuid": "a"}
    request = read(user(image, {"type": "text", "text": "t", "detail": "low"}))
    assert set(request.ignored) == {
        "messages[0].content[0].image_url.size",
        "messages[0].content[0].x",
        "messages[0].content[1].detail",
    }


@pytest.mark.parametrize("name", ["video_url", "audio_url", "image_pil", "image_embeds", "tool_reference", "data"])
def test_no_part_has_a_medium_beside_its_own(name):
    """vLLM would take it, whatever the type says, where there is a uuid as well."""
    text = {"type": "text", "text": "t", "uuid": "x", name: "http://169.254.169.254/"}
    request = read(user(text, {"type": "image_url", "image_url": URL, "uuid": "y", name: "file:///etc/passwd"}))
    assert [part.fields for part in request.messages[0].content] == [{}, {}]
    assert {f"messages[0].content[{i}].{name}" for i in (0, 1)} <= set(request.ignored)


@pytest.mark.parametrize("name", ["functions", "max_new_tokens", "kv_transfer_params", "inputs"])
def test_a_field_that_would_mislead_is_refused(name):
    fault = refused({"role": "user", "content": "hi"}, **{name: "x"})
    assert fault.param == name


def test_a_crowd_of_strange_fields_is_refused_at_once():
    assert "unknown fields" in str(refused({"role": "user", "content": "hi"}, **{f"x{i}": 1 for i in range(9999)}))


def test_long_values_are_quoted_shortly():
    assert len(str(refused({"role": "r" * 10**6, "content": "hi"}))) < 300


@pytest.mark.parametrize("name", ["models", "reasoning_format", "parse_tool_calls", "watermark", "chat_template_args"])
def test_a_parameter_of_another_server_is_no_misspelling(name):
    known = KNOWN | {"reasoning_effort", "parallel_tool_calls", "watermarking", "chat_template_kwargs"}
    request = parse_chat_request({"messages": [{"role": "user", "content": "hi"}], name: "x"}, known)
    assert request.ignored == (name,)


@pytest.mark.parametrize(("wrong", "right"), [("max_token", "max_tokens"), ("temprature", "temperature")])
def test_a_misspelt_parameter_is_refused_with_the_right_name(wrong, right):
    fault = refused({"role": "user", "content": "hi"}, **{wrong: 1})
    assert fault.param == wrong
    assert f"`{right}`" in str(fault)


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ("hi", "messages[0]"),
        ({"content": "hi"}, "messages[0].role"),
        ({"role": 1, "content": "hi"}, "messages[0].role"),
        ({"role": "ro<b>ot", "content": "hi"}, "messages[0].role"),
        ({"role": "user"}, "messages[0].content"),
        ({"role": "user", "content": None}, "messages[0].content"),
        ({"role": "user", "content": 5}, "messages[0].content"),
        ({"role": "user", "content": []}, "messages[0].content"),
        (user(7), "messages[0].content[0]"),
        (user({}), "messages[0].content[0].type"),
        (user({"type": "hologram"}), "messages[0].content[0].type"),
        (user({"type": ["text"]}), "messages[0].content[0].type"),
        (user({"type": "video_url", "video_url": {"url": "x"}}), "messages[0].content[0].type"),
        (user({"type": "text"}), "messages[0].content[0].text"),
        (user({"type": "text", "text": None}), "messages[0].content[0].text"),
        (user({"type": "image_url"}), "messages[0].content[0].image_url"),
        (user({"type": "image_url", "image_url": {}}), "messages[0].content[0].image_url.url"),
        (user({"type": "image_url", "image_url": {"url": 3}}), "messages[0].content[0].image_url.url"),
        (
            user({"type": "image_url", "image_url": {"url": URL, "detail": "4k"}}),
            "messages[0].content[0].image_url.url",
        ),
        ({"role": "assistant", "tool_calls": {}}, "messages[0].tool_calls"),
        ({"role": "assistant", "tool_calls": [1]}, "messages[0].tool_calls[0]"),
        ({"role": "assistant", "tool_calls": [{}]}, "messages[0].tool_calls[0].function"),
        ({"role": "assistant", "tool_calls": [{"function": {}}]}, "messages[0].tool_calls[0].function.name"),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": 1}}]},
            "messages[0].tool_calls[0].function.arguments",
        ),
    ],
)
def test_a_fault_in_a_message_is_named_by_its_path(message, param):
    assert refused(message).param == param


@pytest.mark.parametrize(("field", "value"), [("model", 5), ("stream", "true"), ("stream", 1)])
def test_a_field_of_the_wrong_type_is_refused(field, value):
    assert refused({"role": "user", "content": "hi"}, **{field: value}).param == field


def test_messages_of_the_wrong_type_are_refused():
    with pytest.raises(InvalidRequest, match="must be a list"):
        parse_chat_request({"messages": "hi"}, KNOWN)


def test_a_swarm_of_values_is_refused_before_it_is_parsed():
    with pytest.raises(InvalidRequest, match="commas"):
        json_object(b"[" + b"[]," * 600_000 + b"1]")


def test_a_long_text_with_commas_is_no_swarm():
    body = {"messages": [{"role": "user", "content": "a, " * 400_000}]}
    assert json_object(json.dumps(body).encode())["messages"]


@pytest.mark.parametrize("body", [b'{"messages": Infinity}', b"[" * 100_000, b'{"a": "\xff"}'])
def test_json_that_is_not_json_is_refused(body):
    with pytest.raises(InvalidRequest, match="not valid JSON"):
        json_object(body)


@pytest.mark.parametrize("embeds", ["AAAA", {"features": "AAAA", "sizes": "BBBB"}])
def test_an_image_may_come_as_its_features(embeds):
    request = read(user({"type": "image_embeds", "image_embeds": embeds}))
    assert request.messages[0].content == (EmbedsPart(embeds, "messages[0].content[0].image_embeds"),)
    assert list(request.media()) == list(request.messages[0].content)


@pytest.mark.parametrize("embeds", [None, "", {}, [1], {"features": 1}])
def test_features_that_are_not_base64_are_refused(embeds):
    refusal = refused(user({"type": "image_embeds", "image_embeds": embeds}))
    assert refusal.param == "messages[0].content[0].image_embeds"
