import pytest

from handler.errors import InvalidRequest
from handler.marks import marks_of, placed
from handler.payload.completion import RawText
from handler.payload.parts import ImagePart

ONE, TWO = ImagePart("http://a/1", "images[0]"), ImagePart("http://a/2", "images[1]")


def parts(text, *images, placeholder="<image>", token=None, repeats=1):
    return placed(RawText(text, "prompt", images), marks_of(placeholder, token, repeats))


def test_a_image_stands_at_its_mark():
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


@pytest.mark.parametrize(("text", "images"), [("<image>", ()), ("<image> <image>", (ONE,)), ("<image>", (ONE, TWO))])
def test_marks_and_images_must_match(text, images):
    with pytest.raises(InvalidRequest, match="send as many of one as of the other") as refusal:
        parts(text, *images)
    assert refusal.value.param == "prompt"


def test_an_empty_prompt_is_refused_unless_it_has_a_image():
    with pytest.raises(InvalidRequest, match="empty"):
        parts("")
    assert parts("", ONE) == (ONE, "\n", "")
