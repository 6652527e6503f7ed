"""Rows of text -> a table in Markdown."""

from collections.abc import Iterable


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    cells = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in cells)


def code(text: str) -> str:
    return f"`{text}`"


def prose(text: str) -> str:
    """`text` in which nothing is taken for HTML."""
    return text.replace("<", "&lt;")
