"""Text of serving.properties -> its entries, each with its line number. Java's syntax, and pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from container.options.masking import is_secret_name, shown
from handler.errors import OptionError

FILE_NAME = "serving.properties"

_LINE_END = re.compile(r"\r\n|\n|\r")
_BLANK = " \t\f"
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_BROKEN_UNICODE = re.compile(r"(?<!\\)(?:\\\\)*\\u(?![0-9a-fA-F]{4})")
_NAMED_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
# The key ends at the first '=', ':' or blank that no backslash protects; blanks around the separator belong to nobody.
_ENTRY = re.compile(r"((?:[^\\=: \t\f]|\\.)+)(?:[ \t\f]*[=:][ \t\f]*|[ \t\f]+)(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Property:
    """One entry; `line` counts from 1 and is where the entry begins."""

    key: str
    value: str
    line: int


def parse(text: str, file: str = FILE_NAME) -> list[Property]:
    """The entries of `text` in order, duplicates included. Raises OptionError that lists every line which is none, by
    the name of its `file`."""
    entries: list[Property] = []
    faults: list[str] = []
    for number, line in _logical_lines(text):
        match = _ENTRY.fullmatch(line)
        if match is None or _BROKEN_UNICODE.search(line):
            faults.append(f"{file} line {number}: {_fault(line)}")
        else:
            entries.append(Property(_unescaped(match[1]), _unescaped(match[2]), number))
    if faults:
        raise OptionError("\n".join(faults))
    return entries


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their continuations joined and blanks before them cut; comments and blank lines are left out."""
    lines = enumerate(_LINE_END.split(text.removeprefix("\ufeff")), start=1)
    for number, raw in lines:
        line = raw.lstrip(_BLANK)
        if not line or line[0] in "#!":
            continue
        # In a continuation '#' and '!' are ordinary characters: only a fresh line can be a comment.
        while _continues(line):
            _, more = next(lines, (0, ""))
            line = line[:-1] + more.lstrip(_BLANK)
        yield number, line


def _continues(line: str) -> bool:
    """An odd number of backslashes at the end joins the next line; an even number is backslashes escaped."""
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def _unescaped(text: str) -> str:
    def meaning(match: re.Match[str]) -> str:
        escape = match[1]
        return chr(int(escape[1:], 16)) if len(escape) == 5 else _NAMED_ESCAPES.get(escape, escape)

    return _ESCAPE.sub(meaning, text)


def _fault(line: str) -> str:
    if _BROKEN_UNICODE.search(line):
        why = r"has a \u without four hexadecimal digits; write \\u for a backslash and a 'u'"
    elif line[0] in "=:":
        why = "has a value without a name; write name=value"
    elif line[0] in "{}[]\"'":
        why = "has a name without a value; end each line of a value but its last with a backslash, or write it on one"
    else:
        why = "has a name without a value; write name=value, or # before it for a comment"
    return f"{shown(line, secret=is_secret_name(line))} {why}"
