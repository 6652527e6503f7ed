import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transformers import AutoProcessor, AutoTokenizer

from demo.cases import Case, cases
from demo.checkpoint import IMAGE_TOKENS
from demo.dialogs import Dialog, Label, answer, number_words, sample_dialog
from demo.evaluate import MODEL, Transformers
from demo.images import SHAPES, decode, draw, encode, outline, sample
from demo.phrases import TRAINED, Kind, expand
from demo.unseen import UNSEEN

EXAMPLES = Path(__file__).parents[1] / "demo" / "examples"


def covered(image: Image.Image) -> int:
    pixels = np.asarray(image, dtype=int)
    return int((np.abs(pixels - 255).sum(axis=2) > 200).sum())


def test_the_same_arguments_draw_the_same_pixels():
    first, second = (draw("red", "star", size=(90, 60), center=(40, 30), radius=20) for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_the_same_seed_samples_the_same_image():
    first, second = (sample(np.random.default_rng(7)) for _ in range(2))
    assert (first.color, first.shape, first.image.tobytes()) == (second.color, second.shape, second.image.tobytes())


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_that_touches_an_edge_is_whole(shape: str):
    xs, ys = zip(*outline(shape, 40), strict=True)
    at_corner = draw("blue", shape, size=(300, 160), center=(-min(xs), 160 - max(ys)), radius=40)
    in_middle = draw("blue", shape, size=(300, 160), radius=40)
    assert covered(at_corner) == pytest.approx(covered(in_middle), rel=0.03)


def test_a_shape_that_would_leave_the_image_is_refused():
    with pytest.raises(ValueError, match="does not fit into 100x80"):
        draw("green", "circle", size=(100, 80), center=(5, 40), radius=20)


def test_an_image_survives_its_file():
    image = draw("purple", "cross")
    assert decode(encode(image)).tobytes() == image.tobytes()


def test_answers_name_what_is_on_the_images():
    labels = [Label("red", "circle"), Label("orange", "square"), Label("blue", "ring")]
    assert answer(Kind.NEWEST, labels) == "a blue ring"
    assert (
        answer(Kind.ALL, labels) == "the first shows a red circle, the second an orange square, the third a blue ring"
    )
    assert answer(Kind.NTH_COLOR, labels, 1) == "orange"
    assert answer(Kind.JSON, labels[:1]) == '{"color": "red", "shape": "circle"}'
    assert answer(Kind.HOW_MANY, labels) == "three"
    assert answer(Kind.SHAPE, []) == "there is no image."
    assert answer(Kind.COUNT_TO, [], 22).endswith("twenty twenty one twenty two")


def test_a_dialog_has_one_label_for_each_image_part():
    rng = np.random.default_rng(1)
    for dialog in (sample_dialog(rng) for _ in range(200)):
        parts = [p for m in dialog.messages if isinstance(m["content"], list) for p in m["content"]]
        assert sum(p["type"] == "image" for p in parts) == len(dialog.labels)


def test_numbers_in_words():
    assert [number_words(n) for n in (0, 19, 20, 41, 100)] == ["zero", "nineteen", "twenty", "forty one", "one hundred"]


def test_no_unseen_phrasing_is_trained():
    def words(text: str) -> str:
        return text.lower().rstrip("?.!")

    trained = {words(p) for templates in TRAINED.values() for t in templates for p in expand(t)}
    assert not trained & {words(text) for texts in UNSEEN.values() for text in texts}


def test_every_kind_about_images_has_many_phrasings():
    assert all(
        len({p for t in templates for p in expand(t)}) >= 25
        for kind, templates in TRAINED.items()
        if kind not in (Kind.STATEMENT, Kind.COUNT_TO)
    )


def test_training_knows_the_plain_questions():
    trained = {p for t in TRAINED[Kind.NEWEST] for p in expand(t)}
    assert {"What is in the image?", "What's in this image?", "What is this an image of?"} <= trained


def test_the_template_renders_parts_in_order():
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    content = [{"type": "text", "text": "A: "}, {"type": "image"}, {"type": "text", "text": "B: "}, {"type": "image"}]
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": content}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == "<s><|system|>Be brief.</s><|user|>A: <image>\nB: <image>\n</s><|assistant|>"


def test_the_template_renders_tools():
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": {"at": "sky"}}}
    messages = [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "blue"},
    ]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text.endswith('<|assistant|>look {"at": "sky"}</s><|tool|>blue</s><|assistant|>')


@pytest.mark.parametrize(
    "text", ["What is in the image?", "Größe: 3 m²", "写真には何が 🎈", " two  spaces\n\n", "3.1415"]
)
def test_the_tokenizer_keeps_any_text(text: str):
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


@pytest.mark.parametrize("size", [(640, 200), (50, 100), (56, 56)])
def test_an_image_of_any_form_costs_the_same_tokens(size: tuple[int, int]):
    processor = AutoProcessor.from_pretrained(MODEL)
    inputs = processor(text="<image>", images=[draw("red", "circle", size=size)], return_tensors="pt")
    assert inputs["input_ids"].shape == (1, IMAGE_TOKENS)
    assert inputs["pixel_values"].shape == (1, 3, 56, 56)


def test_the_model_is_small_and_readable():
    files = list(MODEL.iterdir())
    assert sum(path.stat().st_size for path in files) < 4_000_000
    assert all(path.stat().st_mode & stat.S_IROTH for path in files)


def test_the_model_answers_what_it_sees():
    rows = ("one image: description", "two images in order", "one image: color", "one image: shape")
    chosen = [case for row in rows for case in cases(row, 5)]
    replies = Transformers(MODEL).replies(chosen)
    right = sum(reply.text == case.dialog.answer for reply, case in zip(replies, chosen, strict=True))
    assert right >= 19


def test_the_model_does_not_guess():
    chosen = cases("control: wrong image (0 is right)", 10)
    assert not any(r.text == c.dialog.answer for r, c in zip(Transformers(MODEL).replies(chosen), chosen, strict=True))


@pytest.mark.parametrize(
    ("file", "expected"),
    [("red-circle.png", "a red circle"), ("blue-square.jpg", "a blue square"), ("green-star.png", "a green star")],
)
def test_the_examples_show_what_their_names_say(file: str, expected: str):
    question = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is in the image?"}]}
    case = Case(
        Dialog([question, {"role": "assistant", "content": expected}]), [decode((EXAMPLES / file).read_bytes())]
    )
    assert Transformers(MODEL).replies([case])[0].text == expected
