"""Settings of LMI's that are no options of Lumi's: what is said of them."""

from dataclasses import dataclass
from fnmatch import fnmatchcase

ANY = ("*",)
OFF = ("false", "0", "no", "off")
ON = ("true", "1", "yes", "on")


@dataclass(frozen=True, slots=True)
class Ignored:
    """Settings that are accepted and change nothing.

    `names` follow OPTION_, SERVING_ or stand in serving.properties; `variables` are whole names of environment
    variables. A value that matches `no_effect` asks for what happens anyway and causes no warning; one that matches
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
    """Environment variables that work although no option stands for them; a `*` stands for any text."""

    variables: tuple[str, ...]
    meaning: str
