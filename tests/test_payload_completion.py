import pytest

from handler.errors import InvalidRequest
from handler.payload.completion import MAX_PROMPTS, parse_completion_request

KNOWN = frozenset({"max_tokens", "temperature", "logprobs"})
URL = "data:image/png;base64,AA=="


def read(prompt, **fields):
    return parse_completion_request({"prompt": prompt, **fields}, KNOWN)


def refused(prompt, **fields):
    with pytest.raises(InvalidRequest) as refusal:
        read(prompt, **fields)
    return refusal.value


def test_a_text_is_one_prompt():
    request = read("hi", max_tokens=3, model="m", stream=True)
    assert [(text.text, text.path) for text in request.texts] == [("hi", "prompt")]
    assert (request.model, request.stream, request.parameters) == ("m", True, {"max_tokens": 3})


def test_a_list_of_texts_is_several_prompts():
    assert [(text.text, text.path) for text in read(["a", "b"]).texts] == [("a", "prompt[0]"), ("b", "prompt[1]")]


@pytest.mark.parametrize(("prompt", "tokens"), [([1, 2], [(1, 2)]), ([[1, 2], [3]], [(1, 2), (3,)])])
def test_token_ids_are_one_prompt_or_several(prompt, tokens):
    assert [text.tokens for text in read(prompt).texts] == tokens


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"multi_modal_data": {"image": URL}}, "multi_modal_data.image"),
        ({"multi_modal_data": {"image": [URL]}}, "multi_modal_data.image[0]"),
        ({"multi_modal_data": {"image": {"url": URL}}}, "multi_modal_data.image.url"),
        ({"images": [URL]}, "images[0]"),
        ({"image": URL}, "image"),
    ],
)
def test_images_stand_beside_a_single_prompt(fields, path):
    (image,) = read("a <image>", **fields).images()
    assert (image.url, image.path) == (URL, path)


def test_each_of_several_prompts_has_its_own_images():
    request = read([{"prompt": "a", "multi_modal_data": {"image": URL}}, {"prompt": "b"}])
    assert [len(text.images) for text in request.texts] == [1, 0]
    assert request.images()[0].path == "prompt[0].multi_modal_data.image"


@pytest.mark.parametrize(
    ("prompt", "fields", "param"),
    [
        (None, {}, "prompt"),
        ([], {}, "prompt"),
        (3, {}, "prompt"),
        ([3, "a"], {}, "prompt[0]"),
        ([[1, -1]], {}, "prompt[0]"),
        ([{"prompt": 3}], {}, "prompt[0].prompt"),
        ([{"role": "user", "prompt": "a"}], {}, "prompt[0].role"),
        (["a"] * (MAX_PROMPTS + 1), {}, "prompt"),
        (["a", "b"], {"images": [URL]}, "images[0]"),
        ("a", {"images": [3]}, "images[0]"),
        ("a", {"multi_modal_data": [URL]}, "multi_modal_data"),
        ("a", {"multi_modal_data": {"video": "v"}}, "multi_modal_data.video"),
        ("a", {"messages": []}, "messages"),
        ("a", {"parameters": {}}, "parameters"),
        ("a", {"suffix": "b"}, "suffix"),
        ("a", {"max_new_tokens": 3}, "max_new_tokens"),
        ("a", {"temprature": 1}, "temprature"),
        ("a", {"stream": "yes"}, "stream"),
    ],
)
def test_a_fault_is_named_by_its_path(prompt, fields, param):
    assert refused(prompt, **fields).param == param


def test_a_field_without_a_meaning_is_told():
    assert read("a", metadata={}).ignored == ("metadata",)
