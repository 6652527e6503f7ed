"""Environment variables and entries of serving.properties -> Settings: who says what, in which channel."""

import fnmatch
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

from container.options.declaration import Option
from container.options.masking import shown
from container.options.sources.properties import FILE_NAME, Property

OPTION_PREFIX = "OPTION_"
SERVER_PREFIX = "SERVING_"
PROPERTY_PREFIX = "option."

_ANY_PREFIX = re.compile(r"option[._]", re.IGNORECASE)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


class Channel(IntEnum):
    """Who wins: the lower number. The order is LMI's."""

    OVERRIDING = 0  # HF_MODEL_ID, SAGEMAKER_*
    PROPERTIES = 1
    OPTION = 2
    TRANSLATED = 3  # HF_*, SERVING_*, the names of TGI


@dataclass(frozen=True, slots=True)
class Setting:
    """One value in one channel: `name` as options spell it, `label` as the channel does."""

    channel: Channel
    name: str
    label: str
    text: str
    line: int = 0

    @property
    def origin(self) -> str:
        return f"{FILE_NAME} line {self.line}" if self.line else self.label

    def described(self, *, secret: bool) -> str:
        """The beginning of a sentence about it."""
        value = shown(self.text, secret=secret)
        return f"{self.label}={value}" + (f" ({self.origin})" if self.line else "")

    def spelt(self, name: str) -> str:
        """How the option `name` is written in this channel."""
        return f"option.{name}" if self.line else f"{OPTION_PREFIX}{name.upper()}"


def property_settings(entries: Iterable[Property]) -> Iterator[Setting]:
    """With or without the prefix `option.`, in any case, as snake_case or camelCase."""
    for entry in entries:
        name = option_name(_ANY_PREFIX.sub("", entry.key, count=1))
        if entry.value.strip():
            yield Setting(Channel.PROPERTIES, name, entry.key, entry.value, entry.line)


def option_settings(environ: Mapping[str, str]) -> Iterator[Setting]:
    """OPTION_*, in any case. Empty values are skipped, as LMI does."""
    # Where two variables differ by case alone, the one in capitals comes first, and so wins.
    for label in sorted(environ, key=lambda written: (written != written.upper(), written)):
        if label.upper().startswith(OPTION_PREFIX) and environ[label].strip():
            yield Setting(Channel.OPTION, option_name(label[len(OPTION_PREFIX) :]), label, environ[label])


def variable_settings(environ: Mapping[str, str], option: Option) -> Iterator[Setting]:
    """The variables that set `option` by a whole name of their own, best first."""
    channels = ((Channel.OVERRIDING, option.declared.overriding), (Channel.TRANSLATED, option.declared.environment))
    for channel, variables in channels:
        for variable in variables:
            if environ.get(variable, "").strip():
                yield Setting(channel, option.name, variable, environ[variable])


def known_settings(environ: Mapping[str, str], variables: Iterable[str]) -> Iterator[tuple[str, Setting]]:
    """Those of `variables` that are set, each with the one that it matches: a `*` stands for any text."""
    for variable in variables:
        labels = sorted(fnmatch.filter(environ, variable)) if "*" in variable else [variable]
        for label in labels:
            if environ.get(label, "").strip():
                yield variable, Setting(Channel.TRANSLATED, label, label, environ[label])


def server_settings(environ: Mapping[str, str]) -> Iterator[Setting]:
    """SERVING_*, by the names of server keys."""
    for label in sorted(environ):
        if label.startswith(SERVER_PREFIX) and environ[label].strip():
            yield Setting(Channel.TRANSLATED, label[len(SERVER_PREFIX) :].lower(), label, environ[label])


def option_name(written: str) -> str:
    """A name as options spell it: entryPoint and ENTRY_POINT are entry_point."""
    return _CAMEL.sub("_", written).lower()
