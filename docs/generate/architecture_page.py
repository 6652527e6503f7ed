"""The imports of the code and the table of its packages -> docs/architecture.md.

tests/test_rooms.py compares `PACKAGES` with the imports. The drawing is made from the imports alone.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from docs.generate import REWRITE
from docs.generate.architecture_text import TEXT
from docs.generate.imports import direct, levels, package_imports
from docs.generate.markdown import code, table

STAGES = Path("container", "start", "startup.py")
EVERYWHERE = frozenset({"handler.errors"})  # every package may import it, and the drawing leaves it out


@dataclass(frozen=True, slots=True)
class Package:
    """A folder, or a module that stands alone: what it holds, and which other packages its modules may import."""

    name: str
    holds: str
    imports: frozenset[str]


def _package(name: str, holds: str, container: str = "", handler: str = "") -> Package:
    ours = {f"container.{other}" for other in container.split()} | {f"handler.{other}" for other in handler.split()}
    return Package(name, holds, frozenset(ours))


PACKAGES = (
    _package(
        "container.__main__", "passes `os.environ` and the arguments on, and ends with the exit code", "entrypoint ping"
    ),
    _package(
        "container.entrypoint",
        "the commands `serve`, `check` and `diff`; the only module that chooses an engine",
        "address_file commands diff http inspection logs masking model_store nodes options server start",
        "engine engines",
    ),
    _package(
        "container.diff",
        "the command `diff`: what two engines make of a request, side by side",
        "nodes options start",
        "engine images service",
    ),
    _package("container.server", "the life of the process: listen, start, watch, drain, stop", "http nodes start"),
    _package(
        "container.start",
        "the stages from a checked machine to a model that has answered a request",
        "model_store nodes options",
        "adapters checkpoint djl engine engines image_placeholders images media service sessions turns",
    ),
    _package(
        "container.http",
        "routes, edge, admission, streaming, health, metrics; every HTTP status",
        "logs",
        "adapters concurrency djl engine images payload service sessions turns",
    ),
    _package(
        "container.inspection",
        "what `check` says of a model before anything is loaded",
        "model_store options",
        "checkpoint engines",
    ),
    _package("container.nodes", "an engine on several machines: membership, rendezvous, connection", "options"),
    _package("container.ping", "the command `ping`, the image's health check", "address_file options", "engines"),
    _package(
        "container.options",
        "environment, `serving.properties` and hosts' variables to frozen `Options`",
        "masking model_store",
        "adapters djl",
    ),
    _package(
        "container.model_store",
        "a hub id, an `s3://` address or a directory to a local model",
        "",
        "checkpoint concurrency",
    ),
    _package("container.commands", "the command line"),
    _package("container.logs", "log lines in JSON, vLLM's too", "masking"),
    _package("container.masking", "what logs, warnings and errors may show"),
    _package("container.address_file", "where the server listens, in a private file for `ping`"),
    _package(
        "handler.service",
        "a request of any route to its response",
        "",
        "adapters chat completion djl engine generation image_placeholders images openai payload sessions tokens turns",
    ),
    _package("handler.generation", "LMI's `inputs` schema", "", "completion concurrency engine images payload"),
    _package("handler.tokens", "tokenize and detokenize", "", "chat completion engine images payload"),
    _package(
        "handler.chat", "chats as prompts", "", "adapters engine image_placeholders images payload prompt_length turns"
    ),
    _package(
        "handler.completion",
        "raw texts as prompts",
        "",
        "adapters engine image_placeholders images payload prompt_length turns",
    ),
    _package("handler.openai", "what an engine generates as OpenAI's objects", "", "engine concurrency"),
    _package(
        "handler.engines",
        "the engines: vLLM, transformers, and a fake one for fast tests; which one serves a model",
        "",
        "adapters checkpoint concurrency engine prompt_length turns",
    ),
    _package(
        "handler.images",
        "the images of a request: loaded, used, released",
        "",
        "engine media named_images payload sessions turns",
    ),
    _package("handler.named_images", "images by the names that clients give them"),
    _package(
        "handler.media",
        "images from URLs, data URLs and files; the only outbound connections of a request",
        "",
        "concurrency engine payload",
    ),
    _package("handler.djl", "a user's own `model.py`, and the `djl_python` that it imports", "", "engine payload"),
    _package("handler.adapters", "the adapters in service, and what an adapter's files say", "", "engine payload"),
    _package("handler.sessions", "stateful sessions", "", "payload"),
    _package(
        "handler.image_placeholders", "the places of images among the text of a chat or a raw prompt", "", "payload"
    ),
    _package("handler.turns", "the requests of all clients enter the engine in turn", "", "engine"),
    _package("handler.prompt_length", "whether the texts of a prompt can fit the model's context", "", "engine"),
    _package("handler.payload", "the JSON of every accepted schema to typed requests"),
    _package(
        "handler.checkpoint", "what a model is, by its small files and the headers of its weights; nothing is loaded"
    ),
    _package("handler.engine", "the seam: what an engine is, and the types that cross it"),
    _package("handler.concurrency", "several coroutines at once, and blocking work beside the event loop"),
    _package("handler.errors", "the tree of errors"),
)


def drawing(graph: Mapping[str, frozenset[str]]) -> str:
    """The packages by level with an arrow to each that they import; arrows that follow from others are left out."""
    level = levels(graph)
    drawn = {package: direct(graph, package) - EVERYWHERE for package in graph}
    order = {package.name: number for number, package in enumerate(PACKAGES)}
    width = max(map(len, graph))
    rows, above = [], 0
    for package in sorted(graph, key=lambda name: (-level[name], order.get(name, len(order)))):
        number = level[package] if level[package] != above else ""
        above = level[package]
        names = sorted(drawn[package], key=lambda name: order.get(name, len(order)))
        arrow = "──> " if names else ""
        rows.append(f"{number:2}  {package:{width}} {arrow}{', '.join(names)}".rstrip())
    return "\n".join(rows)


def start_stages(root: Path) -> str:
    """The stages of a start as a list, read from the `Stage` that /ping reports."""
    tree = ast.parse((root / STAGES).read_text(encoding="utf-8"))
    stages = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Stage")
    texts = [node.value for node in stages.body if isinstance(node, ast.Assign)]
    return "".join(f"- {ast.literal_eval(text)}\n" for text in texts)


def architecture_page(root: Path) -> str:
    """The text of docs/architecture.md for the code below `root`."""
    rows = ((code(package.name), package.holds) for package in PACKAGES)
    return TEXT.format(
        rewrite=REWRITE,
        drawing=drawing(package_imports(root)),
        packages=table(("package", "what it holds"), rows),
        stages=start_stages(root),
    )
