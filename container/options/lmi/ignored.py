"""Rows of the tables of LMI's settings."""

from dataclasses import dataclass
from fnmatch import fnmatchcase

ANY = ("*",)
OFF = ("false", "0", "no", "off")
ON = ("true", "1", "yes", "on")


@dataclass(frozen=True, slots=True)
class Ignored:
    """Settings that are accepted and have no effect; `instead` is what happens.

    `names` follow OPTION_ or SERVING_, or are keys of serving.properties; `variables` are whole names of environment
    variables. A value that matches `no_effect` asks for what Lumi does anyway, so there is no warning; one that matches
    `refused` ends the start. Both are patterns of fnmatch, in small letters.
    """

    names: tuple[str, ...]
    instead: str
    no_effect: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    def has_no_effect(self, text: str) -> bool:
        return any(fnmatchcase(text.strip().lower(), pattern) for pattern in self.no_effect)

    def is_refused(self, text: str) -> bool:
        return any(fnmatchcase(text.strip().lower(), pattern) for pattern in self.refused)


@dataclass(frozen=True, slots=True)
class PassedThrough:
    """Environment variables that other libraries read; a `*` stands for any text."""

    variables: tuple[str, ...]
    meaning: str
