"""The Python files of the repository -> which module imports which, and which package imports which."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOTS = ("container", "handler")


def module_name(path: Path, root: Path) -> str:
    """`container/http/app.py` below `root` is `container.http.app`."""
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def imported_modules(path: Path, root: Path) -> Iterator[str]:
    """The modules that a file imports at run time: not those for type checkers alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if _is_module(root / Path(*whole.split("."))) else node.module


def package_of(module: str) -> str:
    """`container.http.app` is in `container.http`, and `container.server` is a package of its own."""
    return ".".join(module.split(".")[:2])


def package_imports(root: Path) -> dict[str, frozenset[str]]:
    """Every package of `ROOTS` and the others of them that its modules import."""
    graph: dict[str, set[str]] = {}
    for path in sorted(path for name in ROOTS for path in (root / name).rglob("*.py")):
        package = package_of(module_name(path, root))
        ours = (name for name in imported_modules(path, root) if name.split(".")[0] in ROOTS)
        graph.setdefault(package, set()).update(map(package_of, ours))
    return {package: frozenset(others - {package}) for package, others in graph.items() if package not in ROOTS}


def levels(graph: Mapping[str, frozenset[str]]) -> dict[str, int]:
    """The level of each package: 1 imports nothing of ours, every other is one above the highest that it imports.

    Raises ValueError if imports form a cycle.
    """
    known: dict[str, int] = {}

    def level(package: str, trail: tuple[str, ...] = ()) -> int:
        if package in trail:
            raise ValueError(f"Imports form a cycle: {' -> '.join((*trail[trail.index(package) :], package))}.")
        if package not in known:
            below = [level(other, (*trail, package)) for other in sorted(graph[package])]
            known[package] = 1 + max(below, default=0)
        return known[package]

    return {package: level(package) for package in graph}


def direct(graph: Mapping[str, frozenset[str]], package: str) -> frozenset[str]:
    """What a package imports, without what it also reaches through another import."""
    reached: set[str] = set()
    waiting = [below for other in graph[package] for below in graph[other]]
    while waiting:
        package_below = waiting.pop()
        if package_below not in reached:
            reached.add(package_below)
            waiting += graph[package_below]
    return graph[package] - reached


def _is_module(path: Path) -> bool:
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()
