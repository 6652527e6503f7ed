"""A seed enters; questions about pictures that training never saw leave, with the answers that are right."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from demo.dialogs import Dialog, Label, Message, answer, ask, number, random_labels, user_message, varied
from demo.facts import FACTS
from demo.phrases import Kind, pick
from demo.pictures import COLORS, SHAPES, decode, draw, encode, outline, sample
from demo.unseen import UNSEEN

# Training draws from seeds (n, m) of two numbers; one number alone is another stream.
HELD_OUT_SEED = 20_000


@dataclass(frozen=True)
class Case:
    """A dialog that ends with the expected answer, and its pictures in order."""

    dialog: Dialog
    images: list[Image.Image]


def photographs(labels: list[Label], rng: np.random.Generator) -> list[Image.Image]:
    """Fresh pictures, as JPEG or PNG bytes and back."""
    return [decode(encode(sample(rng, label.color, label.shape).image, rng)) for label in labels]


def _turn(
    kind: Kind, labels: list[Label], seen: int, rng: np.random.Generator, phrases: tuple[str, ...] | None = None
) -> list[Message]:
    text, reply = ask(kind, labels, rng, phrases)
    question = user_message(text, seen, len(labels) - seen, rng)
    return [question, {"role": "assistant", "content": reply}]


def about(
    kind: Kind, least: int, most: int, phrases: tuple[str, ...] | None = None
) -> Callable[[np.random.Generator], Case]:
    """One turn about `least` to `most` pictures."""

    def make(rng: np.random.Generator) -> Case:
        labels = random_labels(int(rng.integers(least, most + 1)), rng)
        return Case(Dialog(_turn(kind, labels, 0, rng, phrases), labels), photographs(labels, rng))

    return make


def later(kinds: tuple[Kind, ...]) -> Callable[[np.random.Generator], Case]:
    """One or two pictures in the first turn, one or two more in the second, the question after that."""

    def make(rng: np.random.Generator) -> Case:
        labels = random_labels(int(rng.integers(2, 5)), rng)
        seen = int(rng.integers(max(1, len(labels) - 2), min(2, len(labels) - 1) + 1))
        messages = _turn(Kind.NEWEST, labels[:seen], 0, rng) + _turn(kinds[rng.integers(len(kinds))], labels, seen, rng)
        return Case(Dialog(messages, labels), photographs(labels, rng))

    return make


def again(rng: np.random.Generator) -> Case:
    """A second question about the same picture."""
    labels = random_labels(1, rng)
    first, second = rng.permutation(np.array([Kind.NEWEST, Kind.COLOR, Kind.SHAPE]))[:2]
    messages = _turn(Kind(first), labels, 0, rng) + _turn(Kind(second), labels, 1, rng)
    return Case(Dialog(messages, labels), photographs(labels, rng))


def at_edge(rng: np.random.Generator) -> Case:
    """A clean shape that touches an edge or a corner of a wide or high picture."""
    label = random_labels(1, rng)[0]
    size = (320, int(rng.integers(160, 321)))
    size = size if rng.random() < 0.5 else (size[1], size[0])
    radius = 0.35 * min(size)
    xs, ys = zip(*outline(label.shape, radius), strict=True)
    x = (-min(xs), size[0] / 2, size[0] - max(xs))[rng.integers(3)]
    y = (-min(ys), size[1] - max(ys))[rng.integers(2)]
    image = decode(encode(draw(label.color, label.shape, size=size, center=(x, y), radius=radius)))
    return Case(Dialog(_turn(Kind.NEWEST, [label], 0, rng), [label]), [image])


def hurried(rng: np.random.Generator) -> Case:
    """Lower case, no question mark, politeness, a number against caches."""
    labels = random_labels(int(rng.integers(1, 3)), rng)
    kind = (Kind.NEWEST, Kind.ALL, Kind.COLOR, Kind.SHAPE)[rng.integers(4)]
    text, reply = ask(kind, labels, rng)
    question = user_message(varied(text, rng), 0, len(labels), rng)
    return Case(Dialog([question, {"role": "assistant", "content": reply}], labels), photographs(labels, rng))


def fact(rng: np.random.Generator) -> Case:
    template, reply = FACTS[rng.integers(len(FACTS))]
    return _text_only(pick(template, rng), reply)


def count_to(numbers: range) -> Callable[[np.random.Generator], Case]:
    def make(rng: np.random.Generator) -> Case:
        n = int(rng.choice(numbers))
        return _text_only(f"Count to {n if rng.random() < 0.7 else number(n)}.", answer(Kind.COUNT_TO, [], n))

    return make


def wrong_picture(rng: np.random.Generator) -> Case:
    """The control: the answer belongs to another picture than the one that is shown, so it must not come."""
    told = random_labels(1, rng)[0]
    colors, shapes = [c for c in COLORS if c != told.color], [s for s in SHAPES if s != told.shape]
    shown = Label(str(rng.choice(colors)), str(rng.choice(shapes)))
    return Case(Dialog(_turn(Kind.NEWEST, [told], 0, rng), [told]), photographs([shown], rng))


def _text_only(text: str, reply: str) -> Case:
    return Case(Dialog([{"role": "user", "content": text}, {"role": "assistant", "content": reply}]), [])


ROWS: dict[str, Callable[[np.random.Generator], Case]] = {
    "one picture: description": about(Kind.NEWEST, 1, 1),
    "one picture: color": about(Kind.COLOR, 1, 1),
    "one picture: shape": about(Kind.SHAPE, 1, 1),
    "one picture: JSON": about(Kind.JSON, 1, 1),
    "one picture: shape touches an edge": at_edge,
    "one picture: second question": again,
    "two pictures in order": about(Kind.ALL, 2, 2),
    "three pictures in order": about(Kind.ALL, 3, 3),
    "four pictures in order": about(Kind.ALL, 4, 4),
    "newest of 2-4: description": about(Kind.NEWEST, 2, 4),
    "newest of 2-4: color": about(Kind.COLOR, 2, 4),
    "newest of 2-4: shape": about(Kind.SHAPE, 2, 4),
    "n-th of 2-4: description": about(Kind.NTH, 2, 4),
    "n-th of 2-4: color": about(Kind.NTH_COLOR, 2, 4),
    "n-th of 2-4: shape": about(Kind.NTH_SHAPE, 2, 4),
    "pictures in a later turn: newest": later((Kind.NEWEST, Kind.COLOR, Kind.SHAPE)),
    "pictures in a later turn: all": later((Kind.ALL,)),
    "how many pictures (0-4)": about(Kind.HOW_MANY, 0, 4),
    "no picture: there is no image": about(Kind.NEWEST, 0, 0),
    "1-2 pictures, sloppy question": hurried,
    "facts": fact,
    "count to 1-20": count_to(range(1, 21)),
    "count to 30, 40 ... 100": count_to(range(30, 101, 10)),
    "unseen phrasing: description": about(Kind.NEWEST, 1, 1, UNSEEN[Kind.NEWEST]),
    "unseen phrasing: color": about(Kind.COLOR, 1, 1, UNSEEN[Kind.COLOR]),
    "unseen phrasing: shape": about(Kind.SHAPE, 1, 1, UNSEEN[Kind.SHAPE]),
    "unseen phrasing: two in order": about(Kind.ALL, 2, 2, UNSEEN[Kind.ALL]),
    "unseen phrasing: n-th of 2-4": about(Kind.NTH, 2, 4, UNSEEN[Kind.NTH]),
    "unseen phrasing: color of n-th": about(Kind.NTH_COLOR, 2, 4, UNSEEN[Kind.NTH_COLOR]),
    "unseen phrasing: shape of n-th": about(Kind.NTH_SHAPE, 2, 4, UNSEEN[Kind.NTH_SHAPE]),
    "unseen phrasing: how many (0-4)": about(Kind.HOW_MANY, 0, 4, UNSEEN[Kind.HOW_MANY]),
    "control: wrong picture (0 is right)": wrong_picture,
}


def cases(row: str, count: int, seed: int = HELD_OUT_SEED) -> list[Case]:
    """The first `count` cases of a row; every row has its own stream."""
    rng = np.random.default_rng(seed + list(ROWS).index(row))
    return [ROWS[row](rng) for _ in range(count)]
