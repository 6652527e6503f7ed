"""docs/architecture.md: drawn from the imports, and without names that do not exist. tests/test_option_reference.py
shows that it is up to date."""

import ast
import re
from pathlib import Path

import pytest

from docs.generate import architecture_page as architecture
from docs.generate.imports import direct, levels, package_imports

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "architecture.md"


PRODUCT = [path for house in ("container", "handler") for path in (ROOT / house).rglob("*.py")]


def defined():
    """`function()` and `Class.method` of the product."""
    for path in PRODUCT:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{node.name}()"
            elif isinstance(node, ast.ClassDef):
                yield from (f"{node.name}.{getattr(part, 'name', '')}" for part in node.body)


def test_the_files_and_functions_that_it_names_exist():
    named = set(re.findall(r"`([^`\n]+)`", PAGE.read_text()))
    files = {name for name in named if re.fullmatch(r"[\w/]+\.py|(container|handler)/[\w/]+", name)}
    files.discard("model.py")  # the user's
    known = {str(place.relative_to(ROOT)) for path in PRODUCT for place in (path, path.parent)}
    known |= {path.name for path in PRODUCT}
    assert not files - known
    functions = {name for name in named if re.fullmatch(r"\w+\(\)|[A-Z]\w+\.[a-z_]+", name)}
    assert len(functions) > 5
    assert not functions - set(defined())


def make(root, modules):
    for name, text in modules.items():
        path = root / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_packages_import_what_their_modules_import(tmp_path):
    modules = {
        "container/__init__": "import handler.errors\n",
        "container/http/__init__": "",
        "container/http/app": "import asyncio\nfrom container.http import edge\nfrom handler.errors import LumiError\n",
        "container/http/edge": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import container.server\n",
        "container/server": "def start():\n    from container import http\n",
        "handler/errors": "",
    }
    root = make(tmp_path, modules)
    assert package_imports(root) == {
        "container.http": {"handler.errors"},
        "container.server": {"container.http"},
        "handler.errors": frozenset(),
    }


HOUSE = {"roof": {"hall", "cellar"}, "hall": {"cellar"}, "cellar": frozenset()}


def test_a_package_stands_above_all_that_it_imports():
    assert levels(HOUSE) == {"cellar": 1, "hall": 2, "roof": 3}


def test_a_cycle_is_named():
    with pytest.raises(ValueError, match="a -> b -> a"):
        levels({"a": {"b"}, "b": {"a"}})


def test_arrows_that_follow_from_others_are_left_out():
    assert [direct(HOUSE, name) for name in HOUSE] == [{"hall"}, {"cellar"}, frozenset()]


def test_the_drawing_has_every_package_and_its_arrows():
    assert architecture.drawing(HOUSE).splitlines() == [
        " 3  roof   ──> hall",
        " 2  hall   ──> cellar",
        " 1  cellar",
    ]
