"""The plan of the house: who may import whom, who alone may do what, and how large a room may be."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PRODUCT = sorted(path for room in ("container", "handler", "demo") for path in (ROOT / room).rglob("*.py"))
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "base", "misc"}
MODULE_LINES = 300
FUNCTION_LINES = 40

# The rooms of `handler` from the upper to the lower; a room imports only what stands below it, or its own.
HANDLER = (
    ("handler.service",),
    ("handler.generation", "handler.tokens"),
    ("handler.chat", "handler.completion"),
    ("handler.images", "handler.image_placeholders", "handler.adapters.registry"),
    ("handler.sessions", "handler.media", "handler.djl"),
    ("handler.payload",),
    ("handler.engines",),
    ("handler.engine", "handler.adapters.files", "handler.adapters.store"),
    ("handler.errors", "handler.concurrency"),
)
# The same of `container`.
CONTAINER = (
    ("container.__main__",),
    ("container.entrypoint", "container.ping"),
    ("container.server",),
    ("container.start.startup", "container.start.vllm_settings"),
    (
        "container.http.adapter_routes",
        "container.http.app",
        "container.http.inference",
        "container.http.models",
        "container.http.user_code",
        "container.adapters",
        "container.start.code_execution",
    ),
    (
        "container.start.service",
        "container.http.edge",
        "container.nodes.rendezvous",
        "container.start.warm_up",
    ),
    ("container.nodes.membership", "container.start.machine", "container.start.model"),
    ("container.options",),
    ("container.model_store",),
    (
        "container.http.admission",
        "container.http.exchange",
        "container.http.routes",
        "container.http.framing",
        "container.http.health",
        "container.http.metrics",
        "container.http.statuses",
        "container.http.streaming",
        "container.logs",
        "container.nodes.connection",
        "container.nodes.phases",
    ),
    ("container.address_file", "container.commands", "container.http.listener", "container.start.memory"),
)
# Rooms of `container` that stay pure, and all of ours that each may import.
PURE = {
    "container.options.sources.properties": {"container.options.masking", "handler.errors"},
    "container.start.memory": set(),
    "container.address_file": set(),
    "container.http.listener": {"handler.errors"},
    "container.start.code_execution": {
        "container.options",
        "handler.djl.entry_point",
        "handler.djl.user_code",
        "handler.errors",
    },
    "container.http.framing": set(),
    "container.http.admission": {"handler.errors"},
    "container.nodes.membership": {"container.options", "handler.errors"},
    "container.nodes.connection": set(),
    "container.nodes.phases": set(),
    "container.nodes.rendezvous": {
        "container.nodes.connection",
        "container.nodes.membership",
        "container.nodes.phases",
        "handler.errors",
    },
    "container.http.metrics": {"container.http.admission"},
    "container.logs": set(),
    "container.http.health": {"handler.djl.own_model", "handler.errors", "handler.service"},
    "container.start.warm_up": {"handler.errors", "handler.images", "handler.service"},
    "container.start.machine": {"container.model_store", "container.options", "handler.errors"},
    "container.commands": {"handler.errors"},
    "container.ping": {"container.address_file", "container.options", "handler.engines.vllm", "handler.errors"},
    "container.http.streaming": {"container.http.framing", "container.http.statuses", "handler.errors"},
    "container.http.edge": {
        "container.http.admission",
        "container.http.exchange",
        "container.http.metrics",
        "container.http.routes",
        "container.http.statuses",
        "container.logs",
        "handler.errors",
        "handler.payload.fields",
    },
}


def _name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _tree(path):
    return ast.parse(path.read_text())


def _imports(path):
    # What is imported for types alone is not there at run time.
    tree = _tree(path)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                path = ROOT / Path(*whole.split("."))
                is_module = path.with_suffix(".py").exists() or (path / "__init__.py").exists()
                yield whole if is_module else node.module


def _room(module, rooms):
    return next(
        (i for i, names in enumerate(rooms) if any(module == n or module.startswith(n + ".") for n in names)), None
    )


@pytest.mark.parametrize("path", PRODUCT, ids=_name)
def test_a_module_keeps_to_the_size_and_name_of_a_room(path):
    assert len(path.read_text().splitlines()) <= MODULE_LINES
    assert path.stem not in FORBIDDEN_NAMES
    assert ast.get_docstring(_tree(path)), "a module opens with its room sign"
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.lineno + 1
            assert lines <= FUNCTION_LINES, f"{node.name} has {lines} lines"


def test_handler_never_imports_container():
    for path in (ROOT / "handler").rglob("*.py"):
        assert not [name for name in _imports(path) if name.split(".")[0] == "container"], path


@pytest.mark.parametrize(("house", "rooms"), [("handler", HANDLER), ("container", CONTAINER)])
def test_rooms_import_downwards_only(house, rooms):
    for path in (ROOT / house).rglob("*.py"):
        own = _room(_name(path), rooms)
        for imported in _imports(path):
            other = _room(imported, rooms)
            if own is not None and other is not None:
                assert other >= own, f"{_name(path)} imports {imported}, which is above it"


def test_every_room_of_the_container_has_its_place():
    homeless = {_name(path) for path in (ROOT / "container").rglob("*.py") if _room(_name(path), CONTAINER) is None}
    assert homeless == {"container", "container.http", "container.nodes", "container.start"}


@pytest.mark.parametrize("module", sorted(PURE))
def test_small_rooms_of_the_container_import_what_the_table_says(module):
    path = (ROOT / Path(*module.split("."))).with_suffix(".py")
    ours = {name for name in _imports(path) if name.split(".")[0] in ("container", "handler")}
    assert ours <= PURE[module]


def test_only_the_entrypoint_picks_an_engine():
    pickers = {
        _name(path)
        for path in (ROOT / "container").rglob("*.py")
        if any(name.startswith("handler.engines") for name in _imports(path))
    }
    pickers.remove("container.ping")  # asks for the names of its arguments only
    assert pickers == {"container.entrypoint", "container.start.vllm_settings"}


def test_only_the_vllm_engine_imports_vllm():
    importers = {_name(path) for path in PRODUCT if any(name.split(".")[0] == "vllm" for name in _imports(path))}
    unknown_fields = {name for name in importers if not name.startswith(("handler.engines.vllm", "demo."))}
    assert not unknown_fields


def test_imports_have_no_cycle():
    graph = {
        _name(path): {name for name in _imports(path) if name.split(".")[0] in ("container", "handler")}
        for path in PRODUCT
    }
    done = set()

    def visit(module, trail):
        assert module not in trail, " -> ".join([*trail, module])
        if module not in done:
            for imported in graph.get(module, ()):
                if imported != module:
                    visit(imported, (*trail, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_only_the_main_module_touches_the_environment():
    # It hands os.environ over; options.py alone reads it. vLLM writes what its processes have to know into it, and the
    # fork server hands that on to them.
    handing_on = {"container.__main__", "handler.engines.vllm.forking", "handler.engines.vllm.preloading"}
    for path in PRODUCT:
        text = path.read_text()
        if _name(path) not in handing_on and not _name(path).startswith("demo."):
            assert "os.environ" not in text, path
            assert "getenv" not in text, path


def test_only_the_app_says_http_statuses():
    words = {"status_code", "HTTPStatus", "JSONResponse"}
    for path in PRODUCT:
        if _name(path) == "handler.media.fetch" or _name(path).startswith(("container.http.", "demo.")):
            continue
        names = {node.attr for node in ast.walk(_tree(path)) if isinstance(node, ast.Attribute)}
        names |= {node.id for node in ast.walk(_tree(path)) if isinstance(node, ast.Name)}
        assert not names & words, path


def test_only_media_opens_connections_on_the_path_of_a_request():
    clients = {"aiohttp", "httpx", "requests", "urllib3", "boto3", "botocore", "http.client", "urllib.request"}
    for path in (ROOT / "handler").rglob("*.py"):
        if not _name(path).startswith("handler.media"):
            assert not clients.intersection(_imports(path)), path


def test_importing_is_light_and_does_nothing():
    # vllm takes seconds to import: the port has to be bound before that.
    code = (
        "import sys, threading; import container.entrypoint; "
        "heavy = {'vllm', 'torch', 'transformers'} & set(sys.modules); "
        "assert not heavy, heavy; assert threading.active_count() == 1"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_what_user_code_imports_stands_on_nothing_of_ours():
    for path in (ROOT / "handler" / "djl" / "djl_python").glob("*.py"):
        assert not [name for name in _imports(path) if name.split(".")[0] in ("container", "handler")], path
