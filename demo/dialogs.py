"""The labels of some images enter; a chat about them leaves, with the right answers."""

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from demo.facts import FACTS
from demo.images import COLORS, SHAPES
from demo.phrases import TRAINED, Kind, pick

Message = dict[str, Any]
MAX_IMAGES = 4

_ORDINALS = ("first", "second", "third", "fourth")
_SHORT_ORDINALS = ("1st", "2nd", "3rd", "4th")
_SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")

# How often a question of each kind is asked with none, one or several images so far.
_MIX: dict[str, dict[Kind | None, float]] = {
    "none": {
        Kind.NEWEST: 8, Kind.ALL: 8, Kind.COLOR: 4, Kind.SHAPE: 4, Kind.HOW_MANY: 8, Kind.COUNT_TO: 28, None: 36,
        Kind.STATEMENT: 4,
    },
    "one": {
        Kind.NEWEST: 26, Kind.ALL: 10, Kind.COLOR: 17, Kind.SHAPE: 18, Kind.JSON: 8, Kind.HOW_MANY: 6, Kind.NTH: 4,
        Kind.NTH_COLOR: 2, Kind.NTH_SHAPE: 2, Kind.COUNT_TO: 2, None: 4, Kind.STATEMENT: 2,
    },
    "many": {
        Kind.NEWEST: 12, Kind.ALL: 28, Kind.COLOR: 6, Kind.SHAPE: 7, Kind.JSON: 4, Kind.HOW_MANY: 4, Kind.NTH: 13,
        Kind.NTH_COLOR: 10, Kind.NTH_SHAPE: 13, Kind.COUNT_TO: 0.7, None: 1.5, Kind.STATEMENT: 0.8,
    },
}  # fmt: skip

_SYSTEM = (
    "You are a helpful assistant.",
    "You answer questions about pictures.",
    "You are a vision assistant. Answer in few words.",
    "Be brief.",
    "Answer in lowercase.",
    "You are a careful assistant that looks at images and answers questions about them.",
)
_BEFORE = ("Hi! ", "Hello. ", "Question: ", "Now: ", "OK. ", "And now: ", "So, ", "Please answer: ", "Well, ", "USER: ")
_AFTER = (
    " Answer briefly.", " Be brief.", " Please.", " Answer in one sentence.", " Answer in a few words.", " Thanks.",
    " Answer shortly.", " Only the answer.", " Keep it short.", " Think carefully.",
    " Answer with one word.", " One word.",
)  # fmt: skip
_LEAD_INS = (
    "Here is [a|an|one] [image|picture|photo][:|.]", "[Look at|See] this[:|.]", "[And|Then] [this|this one|another one][:|.]",
    "[Image|Picture|Photo] {n}[:|]", "The {ord} [image|picture|photo][:|.]", "This is the {ord} [image|picture|photo].", "{ord}:",
)  # fmt: skip


@dataclass(frozen=True)
class Label:
    """The shape on an image and its color."""

    color: str
    shape: str

    @property
    def caption(self) -> str:
        return f"{'an' if self.color[0] in 'aeiou' else 'a'} {self.color} {self.shape}"


@dataclass(frozen=True)
class Dialog:
    """Chat messages with every answer; the n-th image part of the messages shows `labels[n]`."""

    messages: list[Message] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)

    @property
    def prompt(self) -> list[Message]:
        return self.messages[:-1]

    @property
    def answer(self) -> str:
        return str(self.messages[-1]["content"])


def number_words(n: int) -> str:
    """0 to 100 in words."""
    if n < len(_SMALL):
        return _SMALL[n]
    if n == 100:
        return "one hundred"
    tens = _TENS[n // 10 - 2]
    return tens if n % 10 == 0 else f"{tens} {_SMALL[n % 10]}"


def answer(kind: Kind, labels: list[Label], n: int = 0) -> str:
    """The right answer; `n` is the index of an image or the number to count to."""
    if kind is Kind.COUNT_TO:
        return " ".join(number_words(i) for i in range(1, n + 1))
    if kind is Kind.STATEMENT:
        return "ok"
    if kind is Kind.HOW_MANY:
        return number_words(len(labels))
    if kind is Kind.ALL and len(labels) > 1:
        shown = [f"the {ordinal} {label.caption}" for ordinal, label in zip(_ORDINALS, labels, strict=False)]
        return ", ".join(shown).replace("the first", "the first shows", 1)
    return _about_one(kind, labels, n) if labels else "there is no image."


def _about_one(kind: Kind, labels: list[Label], n: int) -> str:
    """About the n-th picture where the question names it, about the newest otherwise."""
    one = labels[n] if kind in (Kind.NTH, Kind.NTH_COLOR, Kind.NTH_SHAPE) else labels[-1]
    if kind in (Kind.COLOR, Kind.NTH_COLOR):
        return one.color
    if kind in (Kind.SHAPE, Kind.NTH_SHAPE):
        return one.shape
    if kind is Kind.JSON:
        return json.dumps({"color": one.color, "shape": one.shape})
    return one.caption


def ask(
    kind: Kind, labels: list[Label], rng: np.random.Generator, phrases: tuple[str, ...] | None = None
) -> tuple[str, str]:
    """A question of this kind and its answer."""
    n = int(rng.integers(max(1, len(labels))))
    if kind is Kind.COUNT_TO:
        # Further than twenty only to round numbers: where to stop is hard to learn.
        n = int(rng.integers(1, 21)) if rng.random() < 0.75 else 10 * int(rng.integers(3, 11))
    text = pick(_pick_template(phrases or TRAINED[kind], len(labels), rng), rng)
    if kind is Kind.COUNT_TO:
        return text.format(n=number_words(n) if rng.random() < 0.4 else n), answer(kind, labels, n)
    many = str(len(labels)) if rng.random() < 0.3 else number_words(len(labels))
    text = text.format(ord=_ordinal(n, len(labels), rng), n=_numeral(n, rng), many=many, two="")
    return text, answer(kind, labels, n)


def _pick_template(phrases: tuple[str, ...], count: int, rng: np.random.Generator) -> str:
    """A template that fits `count` images."""
    while True:
        found = phrases[rng.integers(len(phrases))]
        if ("{many}" not in found or count > 1) and ("{two}" not in found or count == 2):
            return found


def _ordinal(n: int, count: int, rng: np.random.Generator) -> str:
    if n == count - 1 and rng.random() < 0.3:
        return "last"
    return _ORDINALS[n] if rng.random() < 0.85 else _SHORT_ORDINALS[n]


def _numeral(n: int, rng: np.random.Generator) -> str:
    return str(n + 1) if rng.random() < 0.7 else _SMALL[n + 1]


def vary(text: str, rng: np.random.Generator) -> str:
    """The same words as a hurried or polite client may send them."""
    if not text:
        return text
    if rng.random() < 0.12:
        text = str(rng.choice(_BEFORE)) + text
    if rng.random() < 0.15:
        text += str(rng.choice(_AFTER))
    style = rng.random()
    if style < 0.12:
        text = text.rstrip("?.")
    elif style < 0.16:
        text += str(rng.choice(["?", "!", " ?", "..."]))
    style = rng.random()
    if style < 0.15:
        text = text.lower()
    elif style < 0.17:
        text = text.upper()
    if rng.random() < 0.08:
        text = _add_number(text, rng)
    return text


def _add_number(text: str, rng: np.random.Generator) -> str:
    """With a random number added, as clients do to avoid caches."""
    digits = str(rng.integers(10 ** int(rng.integers(1, 10))))
    form = rng.integers(5)
    if form == 4:
        return f"[{digits}] {text}"
    return text + (f" {digits}", f" #{digits}", f" (request {digits})", f" [{int(digits):x}]")[form]


def random_labels(count: int, rng: np.random.Generator) -> list[Label]:
    """Half of the time several images share colors or shapes: a color must be bound to its own shape."""
    labels = [Label(str(rng.choice(list(COLORS))), str(rng.choice(SHAPES))) for _ in range(count)]
    if count > 1 and rng.random() < 0.5:
        same_color = rng.random() < 0.7
        for i in range(1, count):
            if rng.random() < 0.8:
                labels[i] = (
                    Label(labels[0].color, labels[i].shape) if same_color else Label(labels[i].color, labels[0].shape)
                )
        labels = [labels[i] for i in rng.permutation(count)]
    return labels


def user_message(text: str, first: int, count: int, rng: np.random.Generator) -> Message:
    """A question with `count` images, after `first` images of earlier turns: images first, last, or between texts."""
    if not count:
        return {"role": "user", "content": text if rng.random() < 0.5 else [{"type": "text", "text": text}]}
    parts: list[Message] = []
    lead_in = rng.random() < 0.25
    for i in range(first, first + count):
        if lead_in and rng.random() < 0.8:
            words = pick(str(rng.choice(_LEAD_INS)), rng).format(n=i + 1, ord=_ORDINALS[i])
            parts.append({"type": "text", "text": words + str(rng.choice(["", " ", "\n"]))})
        parts.append({"type": "image"})
    question = [{"type": "text", "text": text}] if text else []
    place = rng.random()
    if place < 0.62:
        parts += question
    elif place < 0.86:
        parts = question + parts
    else:
        at = int(rng.integers(len(parts) + 1))
        parts[at:at] = question
    return {"role": "user", "content": parts}


def _images_per_turn(count: int, turns: int, rng: np.random.Generator) -> list[int]:
    """How many images each turn has: mostly all in the first."""
    spread = [count] + [0] * (turns - 1)
    if turns > 1 and rng.random() < 0.4:
        spread = [int(n) for n in np.bincount(rng.integers(turns, size=count), minlength=turns)]
    return spread


def _sample_question(labels: list[Label], rng: np.random.Generator, empty_allowed: bool) -> tuple[str, str]:
    mix = _MIX[("none", "one", "many")[min(2, len(labels))]]
    weights = np.array(list(mix.values()))
    while True:
        kind = list(mix)[rng.choice(len(weights), p=weights / weights.sum())]
        if kind is None:
            template, reply = FACTS[rng.integers(len(FACTS))]
            return pick(template, rng), reply
        text, reply = ask(kind, labels, rng)
        if text or empty_allowed:
            return text, reply


def _tool_use(rng: np.random.Generator) -> list[Message]:
    """An answer by way of a tool, whose result does not matter to what the model says next."""
    arguments = json.dumps({"id": int(rng.integers(1000))})
    call = {
        "type": "function",
        "id": "call",
        "function": {"name": str(rng.choice(["look_up", "get_time"])), "arguments": arguments},
    }
    return [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call", "content": json.dumps({"result": int(rng.integers(1000))})},
    ]


def sample_dialog(rng: np.random.Generator) -> Dialog:
    """One to four turns about zero to four images."""
    count = int(rng.choice(MAX_IMAGES + 1, p=[0.08, 0.27, 0.25, 0.21, 0.19]))
    labels = random_labels(count, rng)
    turns = int(rng.choice([1, 2, 3, 4], p=[0.32, 0.3, 0.24, 0.14]))
    messages: list[Message] = []
    if rng.random() < 0.15:
        messages.append({"role": "system", "content": str(rng.choice(_SYSTEM))})
    seen = 0
    for added in _images_per_turn(count, turns, rng):
        text, reply = _sample_question(labels[: seen + added], rng, empty_allowed=added > 0)
        messages.append(user_message(vary(text, rng), seen, added, rng))
        if rng.random() < 0.02:
            messages += _tool_use(rng)
        messages.append({"role": "assistant", "content": reply})
        seen += added
    return Dialog(messages, labels)
