"""The rules of docs/architecture.md: which package may import which, what only one package may do, and how large a module may be."""

import ast
import re
import subprocess
import sys
from http import HTTPStatus
from pathlib import Path

import pytest

from docs.generate.architecture_page import EVERYWHERE, PACKAGES
from docs.generate.imports import imported_modules, levels, module_name, package_imports

ROOT = Path(__file__).parent.parent
SHIPPED = sorted(path for house in ("container", "handler") for path in (ROOT / house).rglob("*.py"))
PRODUCT = [*SHIPPED, *sorted((ROOT / "demo").rglob("*.py"))]
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "base", "misc"}
MODULE_LINES = 300
FUNCTION_LINES = 40

GRAPH = package_imports(ROOT)
# What may name an HTTP status besides container.http, and why.
STATUSES = {
    "handler.djl": "user code sets the status of its response, and LMI's `djl_python` has defaults",
    "handler.engines.vllm.failures": "vLLM reports its errors by status",
}
STATUS_NUMBERS = {status.value for status in HTTPStatus if status >= 400} | {499}
STATUS_NAMES = {"status_code", "HTTPStatus", "JSONResponse"}


def _name(path):
    return module_name(path, ROOT)


def _imports(path):
    return imported_modules(path, ROOT)


def _tree(path):
    return ast.parse(path.read_text())


def _is_in(module, packages):
    return any(module == package or module.startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize("path", PRODUCT, ids=_name)
def test_a_module_has_a_docstring_a_good_name_and_a_limited_size(path):
    assert len(path.read_text().splitlines()) <= MODULE_LINES
    assert path.stem not in FORBIDDEN_NAMES
    assert ast.get_docstring(_tree(path)), "a module opens with what enters and what leaves"
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.lineno + 1
            assert lines <= FUNCTION_LINES, f"{node.name} has {lines} lines"


def test_the_table_has_every_package():
    assert {package.name for package in PACKAGES} == set(GRAPH)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_a_package_imports_what_the_table_says(package):
    imported = GRAPH[package.name] - EVERYWHERE
    assert not imported - package.imports, f"{package.name} may not import these; see PACKAGES"
    assert not package.imports - imported, f"{package.name} no longer imports these; take them out of PACKAGES"


def test_packages_import_downwards_only():
    order = [package.name for package in PACKAGES]
    for package in PACKAGES:
        above = set(order[: order.index(package.name) + 1])
        assert not package.imports & above, f"{package.name} imports what stands above it in PACKAGES"


def test_handler_never_imports_container():
    for path in (ROOT / "handler").rglob("*.py"):
        assert not [name for name in _imports(path) if name.split(".")[0] == "container"], path


def test_imports_have_no_cycle():
    modules = {_name(path): frozenset(_imports(path)) - {_name(path)} for path in PRODUCT}
    levels({module: imported & modules.keys() for module, imported in modules.items()})


def test_only_the_vllm_engine_imports_vllm():
    importers = {_name(path) for path in PRODUCT if any(name.split(".")[0] == "vllm" for name in _imports(path))}
    assert not {name for name in importers if not _is_in(name, ("handler.engines.vllm", "demo"))}


def test_only_the_start_picks_an_engine():
    pickers = {
        _name(path)
        for path in (ROOT / "container").rglob("*.py")
        if any(name.startswith("handler.engines") for name in _imports(path))
    }
    pickers.remove("container.ping")  # asks for the names of its arguments only
    # What is said of a model names the engine that would serve it.
    settings = {"container.start.vllm_settings", "container.start.transformers_settings"}
    assert pickers == {"container.entrypoint", "container.inspection.report"} | settings


def test_only_the_main_module_touches_the_environment():
    # It passes os.environ on; container.options alone reads it. vLLM writes into it what its processes have to know, and
    # the fork server passes that on to them.
    passing_on = {"container.__main__", "handler.engines.vllm.forking", "handler.engines.vllm.preloading"}
    for path in SHIPPED:
        if _name(path) not in passing_on:
            assert not re.search(r"os\.environ|getenv", path.read_text()), path


def _statuses(path):
    """Names that belong to HTTP statuses, and numbers that are statuses. 0o644 is not one."""
    source = path.read_text()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Attribute | ast.Name):
            yield from {getattr(node, "attr", ""), getattr(node, "id", "")} & STATUS_NAMES
        elif isinstance(node, ast.Constant) and type(node.value) is int and node.value in STATUS_NUMBERS:
            yield from re.findall(r"^\d+$", ast.get_source_segment(source, node))


@pytest.mark.parametrize("path", SHIPPED, ids=_name)
def test_only_the_http_package_names_a_status(path):
    if not _is_in(_name(path), ("container.http", *STATUSES)):
        assert not set(_statuses(path))


def test_a_status_is_found_as_a_name_and_as_a_number(tmp_path):
    module = tmp_path / "module.py"
    module.write_text("answer(499)\nif answer.status_code == 424:\n    retry(after=500)\nmkdir(0o644, 512, 200)\n")
    assert sorted(_statuses(module)) == ["424", "499", "500", "status_code"]


@pytest.mark.parametrize("package", STATUSES)
def test_every_exception_to_that_is_needed(package):
    assert any(set(_statuses(path)) for path in SHIPPED if _is_in(_name(path), [package]))


def test_only_media_opens_connections_on_the_path_of_a_request():
    clients = {"aiohttp", "httpx", "requests", "urllib3", "boto3", "botocore", "http.client", "urllib.request"}
    for path in (ROOT / "handler").rglob("*.py"):
        if not _is_in(_name(path), ["handler.media"]):
            assert not clients.intersection(_imports(path)), path


def test_importing_is_light_and_does_nothing():
    # vllm takes seconds to import: the port has to be bound before that.
    code = (
        "import sys, threading; import container.entrypoint; "
        "heavy = {'vllm', 'torch', 'transformers'} & set(sys.modules); "
        "assert not heavy, heavy; assert threading.active_count() == 1"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_djl_python_imports_nothing_else_of_ours():
    for path in (ROOT / "handler" / "djl" / "djl_python").glob("*.py"):
        assert not [name for name in _imports(path) if name.split(".")[0] in ("container", "handler")], path
