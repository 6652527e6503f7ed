"""Text and rows of text -> Markdown."""

from collections.abc import Iterable


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    cells = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in cells)


def code(*texts: str) -> str:
    """Each of `texts` as code, separated by blanks."""
    return " ".join(f"`{text}`" for text in texts)


def prose(text: str) -> str:
    """`text` without anything that Markdown would take for HTML."""
    return text.replace("<", "&lt;")
