"""Where SageMaker's routing sends requests with images, and what the caches of the instances find then: a simulation.

The bodies are real, and are routed by the rules that AWS documents (docs/routing.md). No model runs: an instance is its
caches and its requests in flight. The result is the same in every run.
"""

import base64
import hashlib
import heapq
import json
import random
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from report import markdown

INSTANCES = 4
THRESHOLD = 16  # ConcurrencyThreshold
KV_TOKENS = 60_000  # of an instance: a 7B model on one GPU of 24 GB
IMAGES = 60  # in the cache of processed images of an instance
IMAGE_TOKENS = 1200
IMAGE_BYTES = 40_000
JPEG_HEAD = bytes(range(256)) * 2 + bytes(111)  # JPEGs of one camera or encoder begin alike: its tables
CHARACTERS = 4  # of a token
SYSTEM = "You answer questions about scanned documents. " * 45
SECONDS = 3.0, 1 / 6000  # of a request, and of each token that no cache has
PER_SECOND = 12.0


Chat = list[dict[str, Any]]


@dataclass(frozen=True)
class Ask:
    """One request: at `time`, about the image number `image`, after `turns` earlier ones of its conversation, whose first
    question has the number `first`."""

    time: float
    image: int
    turns: int
    first: int


@dataclass
class Cache:
    """The least recently used goes first."""

    size: int
    kept: OrderedDict[object, None] = field(default_factory=OrderedDict)

    def has(self, key: object) -> bool:
        """Whether it is there; it is from now on."""
        found = key in self.kept
        self.kept[key] = None
        self.kept.move_to_end(key)
        if len(self.kept) > self.size:
            self.kept.popitem(last=False)
        return found


@dataclass
class Instance:
    """The ends of its requests in flight, and what it has kept."""

    ends: list[float] = field(default_factory=list)
    prefixes: Cache = field(default_factory=lambda: Cache(KV_TOKENS // 16))
    images: Cache = field(default_factory=lambda: Cache(IMAGES))

    def in_flight(self, time: float) -> int:
        """After those that have ended by then are gone."""
        while self.ends and self.ends[0] <= time:
            heapq.heappop(self.ends)
        return len(self.ends)

    def answer(self, ask: Ask, parts: Sequence[tuple[str, int]]) -> tuple[int, bool]:
        """How many tokens of the prompt are in the KV cache, and whether the image is processed. vLLM keeps blocks of 16
        tokens, each under the hash of all that is before it, texts and hashes of images alike."""
        blocks = [(name, number) for name, size in parts for number in range(size // 16)]
        chain = accumulate(blocks, lambda before, block: hash((before, block)))
        keys = [self.prefixes.has(key) for key in chain]
        found = keys.index(False) if False in keys else len(keys)
        heapq.heappush(self.ends, ask.time + SECONDS[0] + SECONDS[1] * 16 * (len(keys) - found))
        return 16 * found, self.images.has(ask.image)


def image_url(number: int) -> str:
    """A JPEG in a data URL; all begin with the same tables."""
    data = JPEG_HEAD + random.Random(number).randbytes(IMAGE_BYTES - len(JPEG_HEAD))
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()


URLS = [image_url(number) for number in range(160)]


def question(ask: Ask, turn: int) -> str:
    """What nobody else asks."""
    return f"Question {ask.first + turn}: " + "what does it say? " * 6


def messages(ask: Ask, *order: str) -> Chat:
    """The chat, with the parts of its first turn in that `order`."""
    parts = {
        "image": {"type": "image_url", "image_url": {"url": URLS[ask.image]}},
        "question": {"type": "text", "text": question(ask, 0)},
        "name": {"type": "text", "text": f"Document {ask.image:05}."},
    }
    chat: Chat = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": [parts[name] for name in order]},
    ]
    for turn in range(1, ask.turns + 1):
        chat.append({"role": "assistant", "content": "It says so. " * 12})
        chat.append({"role": "user", "content": question(ask, turn)})
    return chat


def prompt(chat: Chat, ask: Ask) -> Iterator[tuple[str, int]]:
    """The parts of the prompt in their order, each with its tokens."""
    for message in chat:
        content = message["content"]
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            is_text = part["type"] == "text"
            yield (part["text"], len(part["text"]) // CHARACTERS) if is_text else (f"image {ask.image}", IMAGE_TOKENS)


Order = Callable[[Ask], tuple[str, Chat]]
"""A body, and the chat in it."""


def varying_first(ask: Ask) -> tuple[str, Chat]:
    """What differs in each request stands before the messages, and the question before the image."""
    chat = messages(ask, "question", "image")
    return json.dumps({"user": f"request-{ask.time}", "max_tokens": 100, "messages": chat}), chat


def in_order(*order: str) -> Order:
    """The messages first, and the parts of the first turn in that `order`."""

    def body(ask: Ask) -> tuple[str, Chat]:
        chat = messages(ask, *order)
        return json.dumps({"messages": chat, "max_tokens": 100, "user": f"request-{ask.time}"}), chat

    return body


Route = Callable[[str, Chat, Ask], object]
"""What is the same for requests that belong together; None where only the load decides."""


def by_load(_: str, __: Chat, ___: Ask) -> None:
    """LEAST_OUTSTANDING_REQUESTS."""


def by_bytes(length: int, *, names_image: bool = False) -> Route:
    """PREFIX_AWARE on InvokeEndpoint: the first bytes of the body, and the identifier of the request."""
    return lambda body, _, ask: (body[:length], ask.image if names_image else None)


def by_text(length: int) -> Route:
    """PREFIX_AWARE on the OpenAI-compatible path: the first characters of the messages' text."""
    return lambda _, chat, __: "".join(text for message in chat for text in texts(message["content"]))[:length]


def by_session(_: str, __: Chat, ask: Ask) -> object:
    """A stateful session for each image."""
    return ask.image


def texts(content: Any) -> list[str]:
    """Those of a message."""
    return [content] if isinstance(content, str) else [part["text"] for part in content if "text" in part]


def choose(instances: Sequence[Instance], key: object, ask: Ask, chance: random.Random) -> Instance:
    """The instance of the key while it has fewer requests in flight than the threshold, else the least busy one."""
    if key is not None:
        digest = hashlib.sha256(repr(key).encode()).digest()
        chosen = instances[int.from_bytes(digest[:8], "big") % len(instances)]
        if chosen.in_flight(ask.time) < THRESHOLD:
            return chosen
    loads = [instance.in_flight(ask.time) for instance in instances]
    return chance.choice([one for one, load in zip(instances, loads, strict=True) if load == min(loads)])


def simulate(asks: Sequence[Ask], order: Order, route: Route) -> list[str]:
    """The tokens and images that are found, and the share of the busiest instance."""
    instances, chance = [Instance() for _ in range(INSTANCES)], random.Random(7)
    tokens, found_tokens, found_images, served = 0, 0, 0, Counter[int]()
    for ask in asks:
        body, chat = order(ask)
        instance = choose(instances, route(body, chat, ask), ask, chance)
        parts = list(prompt(chat, ask))
        found, processed = instance.answer(ask, parts)
        tokens += sum(size for _, size in parts)
        found_tokens, found_images = found_tokens + found, found_images + processed
        served[instances.index(instance)] += 1
    return [
        f"{found_tokens / tokens:.0%}",
        f"{found_images / len(asks):.0%}",
        f"{max(served.values()) / len(asks):.0%}",
    ]


def conversations() -> list[Ask]:
    """Each of 160 images is talked about in five turns, with other conversations between them."""
    chance, asks = random.Random(1), []
    for image in range(len(URLS)):
        time = chance.uniform(0, 5 * len(URLS) / PER_SECOND)
        for turn in range(5):
            asks.append(Ask(time, image, turn, image * 10))
            time += chance.uniform(6, 12)
    return sorted(asks, key=lambda ask: ask.time)


def documents() -> list[Ask]:
    """800 questions of one turn each, about 120 documents, some of them asked about more than others."""
    chance = random.Random(2)
    weights = [1 / (rank + 10) for rank in range(120)]
    times = accumulate(chance.expovariate(PER_SECOND) for _ in range(800))
    images = chance.choices(range(120), weights, k=800)
    return [Ask(time, image, 0, number) for number, (time, image) in enumerate(zip(times, images, strict=True))]


BEST, NAMED = in_order("image", "question"), in_order("name", "image", "question")
CASES = (
    ("`LEAST_OUTSTANDING_REQUESTS`", "image, question", BEST, by_load),
    ("`PREFIX_AWARE` 8192", "varying fields, question, image", varying_first, by_bytes(8192)),
    ("`PREFIX_AWARE` 8192", "question, image", in_order("question", "image"), by_bytes(8192)),
    ("`PREFIX_AWARE` 1024: the system prompt alone", "image, question", BEST, by_bytes(1024)),
    ("`PREFIX_AWARE` 65536: beyond the image", "image, question", BEST, by_bytes(65_536)),
    ("**`PREFIX_AWARE` 8192**", "**image, question**", BEST, by_bytes(8192)),
    (
        "`PREFIX_AWARE` 1024 with `PrefixAwareId` of the image",
        "image, question",
        BEST,
        by_bytes(1024, names_image=True),
    ),
    ("OpenAI's path, `PREFIX_AWARE` 2200: into the question", "image, question", BEST, by_text(2200)),
    (
        "**OpenAI's path, `PREFIX_AWARE` 2084**",
        "**name of the image, image, question**",
        NAMED,
        by_text(len(SYSTEM) + 14),
    ),
    ("a session for each image", "image, question", BEST, by_session),
)
HEAD = ("routing", "order of the body", *(f"{load}: {what}" for load in ("chats", "documents")
        for what in ("tokens found", "images found", "busiest")))  # fmt: skip


def table() -> str:
    """The result as Markdown."""
    loads = conversations(), documents()
    rows = ([name, words, *(cell for asks in loads for cell in simulate(asks, order, route))]
            for name, words, order, route in CASES)  # fmt: skip
    return markdown(HEAD, rows)


if __name__ == "__main__":
    print(table())
