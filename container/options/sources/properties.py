"""Text of serving.properties -> its entries, each with its line number. The syntax is that of Java's properties."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from container.masking import is_secret_name, quote
from handler.errors import OptionError

FILE_NAME = "serving.properties"

_LINE_END = re.compile(r"\r\n|\n|\r")
_BLANK = " \t\f"
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_BROKEN_UNICODE = re.compile(r"(?<!\\)(?:\\\\)*\\u(?![0-9a-fA-F]{4})")
_NAMED_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
# The key ends at the first '=', ':' or blank that no backslash protects; blanks around the separator are skipped.
_ENTRY = re.compile(r"((?:[^\\=: \t\f]|\\.)+)(?:[ \t\f]*[=:][ \t\f]*|[ \t\f]+)(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Property:
    """One entry; `line` counts from 1 and is where the entry begins."""

    key: str
    value: str
    line: int


def parse(text: str, file: str = FILE_NAME) -> list[Property]:
    """The entries of `text` in order, duplicates included. Raises OptionError with every line of `file` that is not an
    entry."""
    entries: list[Property] = []
    faults: list[str] = []
    for number, line in _logical_lines(text):
        match = _ENTRY.fullmatch(line)
        if match is None or _BROKEN_UNICODE.search(line):
            faults.append(f"{file} line {number}: {_fault(line)}")
        else:
            entries.append(Property(_unescape(match[1]), _unescape(match[2]), number))
    if faults:
        raise OptionError("\n".join(faults))
    return entries


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their continuations joined and leading blanks removed, without comments and blank lines."""
    lines = enumerate(_LINE_END.split(text.removeprefix("\ufeff")), start=1)
    for number, raw in lines:
        line = raw.lstrip(_BLANK)
        if not line or line[0] in "#!":
            continue
        # In a continuation '#' and '!' are ordinary characters: only a new line can be a comment.
        while _continues(line):
            _, more = next(lines, (0, ""))
            line = line[:-1] + more.lstrip(_BLANK)
        yield number, line


def _continues(line: str) -> bool:
    """Whether the line ends in an odd number of backslashes; an even number is escaped backslashes."""
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def _unescape(text: str) -> str:
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
        why = "has a name without a value; write the value on one line, or end each of its lines but the last with a backslash"
    else:
        why = "has a name without a value; write name=value, or put # before a comment"
    return f"{quote(line, secret=is_secret_name(line))} {why}"
