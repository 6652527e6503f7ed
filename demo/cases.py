"""A seed enters; questions about images that training never saw leave, with the answers that are right."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from demo.dialogs import Dialog, Label, Message, answer, ask, number_words, random_labels, user_message, vary
from demo.facts import FACTS
from demo.images import COLORS, SHAPES, decode, draw, encode, outline, sample
from demo.phrases import Kind, pick
from demo.unseen import UNSEEN

# Training draws from seeds (n, m) of two numbers; one number alone is another stream.
HELD_OUT_SEED = 20_000


@dataclass(frozen=True)
class Case:
    """A dialog that ends with the expected answer, and its images in order."""

    dialog: Dialog
    images: list[Image.Image]


def sample_images(labels: list[Label], rng: np.random.Generator) -> list[Image.Image]:
    """Fresh images, as JPEG or PNG bytes and back."""
    return [decode(encode(sample(rng, label.color, label.shape).image, rng)) for label in labels]


def _turn(
    kind: Kind, labels: list[Label], seen: int, rng: np.random.Generator, phrases: tuple[str, ...] | None = None
) -> list[Message]:
    text, reply = ask(kind, labels, rng, phrases)
    question = user_message(text, seen, len(labels) - seen, rng)
    return [question, {"role": "assistant", "content": reply}]


def one_turn(
    kind: Kind, minimum: int, maximum: int, phrases: tuple[str, ...] | None = None
) -> Callable[[np.random.Generator], Case]:
    """One turn about `minimum` to `maximum` images."""

    def make(rng: np.random.Generator) -> Case:
        labels = random_labels(int(rng.integers(minimum, maximum + 1)), rng)
        return Case(Dialog(_turn(kind, labels, 0, rng, phrases), labels), sample_images(labels, rng))

    return make


def two_turns(kinds: tuple[Kind, ...]) -> Callable[[np.random.Generator], Case]:
    """One or two images in the first turn, one or two more in the second, the question after that."""

    def make(rng: np.random.Generator) -> Case:
        labels = random_labels(int(rng.integers(2, 5)), rng)
        seen = int(rng.integers(max(1, len(labels) - 2), min(2, len(labels) - 1) + 1))
        messages = _turn(Kind.NEWEST, labels[:seen], 0, rng) + _turn(kinds[rng.integers(len(kinds))], labels, seen, rng)
        return Case(Dialog(messages, labels), sample_images(labels, rng))

    return make


def second_question(rng: np.random.Generator) -> Case:
    """A second question about the same image."""
    labels = random_labels(1, rng)
    first, second = rng.permutation(np.array([Kind.NEWEST, Kind.COLOR, Kind.SHAPE]))[:2]
    messages = _turn(Kind(first), labels, 0, rng) + _turn(Kind(second), labels, 1, rng)
    return Case(Dialog(messages, labels), sample_images(labels, rng))


def shape_at_edge(rng: np.random.Generator) -> Case:
    """A clean shape that touches an edge or a corner of a wide or high image."""
    label = random_labels(1, rng)[0]
    size = (320, int(rng.integers(160, 321)))
    size = size if rng.random() < 0.5 else (size[1], size[0])
    radius = 0.35 * min(size)
    xs, ys = zip(*outline(label.shape, radius), strict=True)
    x = (-min(xs), size[0] / 2, size[0] - max(xs))[rng.integers(3)]
    y = (-min(ys), size[1] - max(ys))[rng.integers(2)]
    image = decode(encode(draw(label.color, label.shape, size=size, center=(x, y), radius=radius)))
    return Case(Dialog(_turn(Kind.NEWEST, [label], 0, rng), [label]), [image])


def sloppy_question(rng: np.random.Generator) -> Case:
    """Lower case, no question mark, politeness, or a random number that avoids caches."""
    labels = random_labels(int(rng.integers(1, 3)), rng)
    kind = (Kind.NEWEST, Kind.ALL, Kind.COLOR, Kind.SHAPE)[rng.integers(4)]
    text, reply = ask(kind, labels, rng)
    question = user_message(vary(text, rng), 0, len(labels), rng)
    return Case(Dialog([question, {"role": "assistant", "content": reply}], labels), sample_images(labels, rng))


def fact_question(rng: np.random.Generator) -> Case:
    template, reply = FACTS[rng.integers(len(FACTS))]
    return _text_only(pick(template, rng), reply)


def count_to(numbers: range) -> Callable[[np.random.Generator], Case]:
    def make(rng: np.random.Generator) -> Case:
        n = int(rng.choice(numbers))
        return _text_only(f"Count to {n if rng.random() < 0.7 else number_words(n)}.", answer(Kind.COUNT_TO, [], n))

    return make


def wrong_image(rng: np.random.Generator) -> Case:
    """The control: the answer belongs to another image than the one in the request, so the model must not give it."""
    expected = random_labels(1, rng)[0]
    colors, shapes = [c for c in COLORS if c != expected.color], [s for s in SHAPES if s != expected.shape]
    actual = Label(str(rng.choice(colors)), str(rng.choice(shapes)))
    return Case(Dialog(_turn(Kind.NEWEST, [expected], 0, rng), [expected]), sample_images([actual], rng))


def _text_only(text: str, reply: str) -> Case:
    return Case(Dialog([{"role": "user", "content": text}, {"role": "assistant", "content": reply}]), [])


ROWS: dict[str, Callable[[np.random.Generator], Case]] = {
    "one image: description": one_turn(Kind.NEWEST, 1, 1),
    "one image: color": one_turn(Kind.COLOR, 1, 1),
    "one image: shape": one_turn(Kind.SHAPE, 1, 1),
    "one image: JSON": one_turn(Kind.JSON, 1, 1),
    "one image: shape touches an edge": shape_at_edge,
    "one image: second question": second_question,
    "two images in order": one_turn(Kind.ALL, 2, 2),
    "three images in order": one_turn(Kind.ALL, 3, 3),
    "four images in order": one_turn(Kind.ALL, 4, 4),
    "newest of 2-4: description": one_turn(Kind.NEWEST, 2, 4),
    "newest of 2-4: color": one_turn(Kind.COLOR, 2, 4),
    "newest of 2-4: shape": one_turn(Kind.SHAPE, 2, 4),
    "n-th of 2-4: description": one_turn(Kind.NTH, 2, 4),
    "n-th of 2-4: color": one_turn(Kind.NTH_COLOR, 2, 4),
    "n-th of 2-4: shape": one_turn(Kind.NTH_SHAPE, 2, 4),
    "images in a later turn: newest": two_turns((Kind.NEWEST, Kind.COLOR, Kind.SHAPE)),
    "images in a later turn: all": two_turns((Kind.ALL,)),
    "how many images (0-4)": one_turn(Kind.HOW_MANY, 0, 4),
    "no image: there is no image": one_turn(Kind.NEWEST, 0, 0),
    "1-2 images, sloppy question": sloppy_question,
    "facts": fact_question,
    "count to 1-20": count_to(range(1, 21)),
    "count to 30, 40 ... 100": count_to(range(30, 101, 10)),
    "unseen phrasing: description": one_turn(Kind.NEWEST, 1, 1, UNSEEN[Kind.NEWEST]),
    "unseen phrasing: color": one_turn(Kind.COLOR, 1, 1, UNSEEN[Kind.COLOR]),
    "unseen phrasing: shape": one_turn(Kind.SHAPE, 1, 1, UNSEEN[Kind.SHAPE]),
    "unseen phrasing: two in order": one_turn(Kind.ALL, 2, 2, UNSEEN[Kind.ALL]),
    "unseen phrasing: n-th of 2-4": one_turn(Kind.NTH, 2, 4, UNSEEN[Kind.NTH]),
    "unseen phrasing: color of n-th": one_turn(Kind.NTH_COLOR, 2, 4, UNSEEN[Kind.NTH_COLOR]),
    "unseen phrasing: shape of n-th": one_turn(Kind.NTH_SHAPE, 2, 4, UNSEEN[Kind.NTH_SHAPE]),
    "unseen phrasing: how many (0-4)": one_turn(Kind.HOW_MANY, 0, 4, UNSEEN[Kind.HOW_MANY]),
    "control: wrong image (0 is right)": wrong_image,
}


def cases(row: str, count: int, seed: int = HELD_OUT_SEED) -> list[Case]:
    """The first `count` cases of a row; every row has its own stream."""
    rng = np.random.default_rng(seed + list(ROWS).index(row))
    return [ROWS[row](rng) for _ in range(count)]
