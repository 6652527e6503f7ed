import pytest

from handler.errors import InvalidRequest
from handler.image_placeholders import ImagePlaceholders, split_at_placeholders
from handler.payload.chat import parse_chat_request
from handler.payload.parts import ImagePart
from handler.payload.requests import RawText


def placed(*content, token="<image>", repeats=1):
    """The content after placement, an image by its URL in brackets."""
    parts = [
        {"type": "image_url", "image_url": part[1:-1]} if part.startswith("[") else {"type": "text", "text": part}
        for part in content
    ]
    request = parse_chat_request({"messages": [{"role": "user", "content": parts}]}, frozenset())
    message = ImagePlaceholders(token, repeats).place_in_chat(request).messages[0]
    return [f"[{part.url}]" if isinstance(part, ImagePart) else part.text for part in message.content]


def test_tokens_take_the_images_in_order():
    assert placed("a <image> b <image>", "[1]", "[2]") == ["a ", "[1]", " b ", "[2]"]


def test_a_token_may_come_before_or_after_its_image():
    assert placed("[1]", "look: <image>!") == ["look: ", "[1]", "!"]


def test_without_a_token_the_places_of_the_parts_count():
    assert placed("[1]", "a", "[2]", "b") == ["[1]", "a", "[2]", "b"]


def test_images_beyond_the_last_token_stay_where_they_are():
    assert placed("<image> a", "[1]", "b", "[2]") == ["[1]", " a", "b", "[2]"]


def test_tokens_in_several_texts_share_one_order():
    assert placed("<image>a", "b<image>", "[1]", "[2]") == ["[1]", "a", "b", "[2]"]


def test_any_text_may_be_the_token():
    assert placed("see {{img}} now", "[1]", token="{{img}}") == ["see ", "[1]", " now"]


def test_the_same_image_twice_is_two_images():
    assert placed("<image><image>", "[1]", "[1]") == ["[1]", "[1]"]


def test_a_token_without_an_image_is_refused():
    with pytest.raises(InvalidRequest, match="has 2 '<image>' but the message has 1") as refusal:
        placed("<image> and <image>", "[1]")
    assert refusal.value.param == "messages[0].content"


def test_a_token_in_string_content_is_refused():
    request = parse_chat_request({"messages": [{"role": "user", "content": "a <image>"}]}, frozenset())
    with pytest.raises(InvalidRequest):
        ImagePlaceholders("<image>").place_in_chat(request)


def test_only_user_messages_are_looked_at():
    turns = [{"role": "system", "content": "<image> is a tag"}, {"role": "assistant", "content": "write <image>"}]
    request = parse_chat_request({"messages": turns}, frozenset())
    assert ImagePlaceholders("<image>").place_in_chat(request) == request


def test_thousands_of_images_are_placed_in_order():
    count = 4000
    assert placed("<image>" * count, *(f"[{i}]" for i in range(count))) == [f"[{i}]" for i in range(count)]


# The token repeated, as clients of vLLM 0.5 write it

IMAGES = [{"type": "image_url", "image_url": str(number)} for number in range(2)]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("<image>" * 576 + "\nUSER: What is it?\nASSISTANT:", "<image>\nUSER: What is it?\nASSISTANT:"),
        ("<image>" * 1152, "<image><image>"),
        ("a " + "<image>" * 576 + " b " + "<image>" * 576, "a <image> b <image>"),
        ("<image><image>", "<image><image>"),
        ("<image>" * 577, "<image><image>"),
        ("no token", "no token"),
        ("", ""),
    ],
)
def test_so_many_tokens_side_by_side_are_one(text, meant):
    request = parse_chat_request({"messages": [{"role": "user", "content": [text, *IMAGES]}]}, frozenset())
    legacy = ImagePlaceholders("<image>", 576).place_in_chat(request)
    once = parse_chat_request({"messages": [{"role": "user", "content": [meant, *IMAGES]}]}, frozenset())
    assert legacy == ImagePlaceholders("<image>").place_in_chat(once)


def test_a_token_that_is_written_once_stays():
    assert placed("<image><image>", "[1]", "[2]", repeats=1) == ["[1]", "[2]"]


def test_the_tokens_of_a_legacy_client_mark_one_place_for_each_image():
    text = "<image>" * 576 + " and " + "<image>" * 576
    assert placed("look: ", text, "[1]", "[2]", repeats=576) == ["look: ", "[1]", " and ", "[2]"]


def test_clients_that_write_the_token_once_are_served_beside_legacy_ones():
    assert placed("<image> and <image>", "[1]", "[2]", repeats=576) == ["[1]", " and ", "[2]"]


def test_repeated_tokens_without_an_image_are_refused_as_one():
    text = "<image>" * 576
    request = parse_chat_request({"messages": [{"role": "user", "content": text}]}, frozenset())
    with pytest.raises(InvalidRequest, match="has 1 '<image>' but the message has 0"):
        ImagePlaceholders("<image>", 576).place_in_chat(request)


def test_only_tokens_of_user_messages_collapse():
    text = "<image>" * 576
    request = parse_chat_request({"messages": [{"role": "assistant", "content": text}]}, frozenset())
    assert ImagePlaceholders("<image>", 576).place_in_chat(request) == request


# Raw prompts


ONE, TWO = ImagePart("http://a/1", "images[0]"), ImagePart("http://a/2", "images[1]")


def parts(text, *images, placeholder="<image>", token=None, repeats=1):
    return split_at_placeholders(
        RawText(text, "prompt", images), ImagePlaceholders(token, repeats).pattern(placeholder)
    )


def test_an_image_stands_at_its_mark():
    assert parts("USER: <image>\nWhat? <image>!", ONE, TWO) == ("USER: ", ONE, "\nWhat? ", TWO, "!")


def test_without_a_mark_images_come_first_each_on_its_line():
    assert parts("What?", ONE, TWO) == (ONE, "\n", TWO, "\n", "What?")


@pytest.mark.parametrize("mark", ["<|vision|><|pad|>", "<image>", "[PIC]"])
def test_the_models_mark_the_documents_and_the_operators_are_known(mark):
    assert parts(f"a {mark} b", ONE, placeholder="<|vision|><|pad|>", token="[PIC]") == ("a ", ONE, " b")


def test_a_mark_that_is_repeated_as_a_legacy_client_does_is_one():
    assert parts("<image>" * 576 + "\nUSER: What?", ONE, repeats=576) == (ONE, "\nUSER: What?")
    assert parts("<image>" * 1152, ONE, TWO, repeats=576) == (ONE, TWO)
    assert parts("<image> and <image>", ONE, TWO, repeats=576) == (ONE, " and ", TWO)


def test_numbered_marks_name_their_image():
    assert parts("<|image_2|> <|image_1|>", ONE, TWO, placeholder="<|image_1|>") == (TWO, " ", ONE)


@pytest.mark.parametrize("text", ["<|image_1|> <|image_1|>", "<|image_2|> <|image_3|>"])
def test_marks_that_are_not_numbered_in_turn_are_refused(text):
    with pytest.raises(InvalidRequest, match="numbered"):
        parts(text, ONE, TWO, placeholder="<|image_1|>")


@pytest.mark.parametrize(("text", "images"), [("<image> <image>", (ONE,)), ("<image>", (ONE, TWO))])
def test_marks_and_images_must_match(text, images):
    with pytest.raises(InvalidRequest, match="send as many images as placeholders") as refusal:
        parts(text, *images)
    assert refusal.value.param == "prompt"


def test_without_images_a_mark_is_a_text():
    assert parts("what is <image> in HTML?") == ("what is <image> in HTML?",)


def test_an_empty_prompt_is_refused_unless_it_has_an_image():
    with pytest.raises(InvalidRequest, match="empty"):
        parts("")
    assert parts("", ONE) == (ONE, "\n", "")
