"""Environment variables and entries of serving.properties -> Settings: one value each, and where it is set."""

import fnmatch
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

from container.masking import quote
from container.options.declaration import Option
from container.options.sources.properties import FILE_NAME, Property

OPTION_PREFIX = "OPTION_"
VLLM_PREFIX = "SM_VLLM_"  # of AWS's vLLM container: the arguments of `vllm serve`
SERVER_PREFIX = "SERVING_"
PROPERTY_PREFIX = "option."

_ANY_PREFIX = re.compile(r"option[._]", re.IGNORECASE)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


class Channel(IntEnum):
    """Where a setting comes from. Of two channels the lower number wins, in LMI's order."""

    OVERRIDING = 0  # HF_MODEL_ID, SAGEMAKER_*
    PROPERTIES = 1  # serving.properties
    OPTION = 2  # OPTION_*
    VLLM_CONTAINER = 3  # SM_VLLM_*
    TRANSLATED = 4  # HF_*, SERVING_*, the names of TGI
    MODEL_DIRECTORY = 5  # the model that was found there


@dataclass(frozen=True, slots=True)
class Origin:
    """`label` is the name as its channel spells it; `line` is the line of serving.properties, or 0."""

    channel: Channel
    label: str
    line: int = 0

    def __str__(self) -> str:
        return f"{FILE_NAME} line {self.line}" if self.line else self.label


@dataclass(frozen=True, slots=True)
class Setting:
    """The `text` of one value, and its `name` as options spell it. `written` is what the user wrote where that is not the
    text."""

    name: str
    text: str
    origin: Origin
    written: str | None = None

    def describe(self, *, secret: bool) -> str:
        """The beginning of a sentence about it."""
        value = quote(self.text if self.written is None else self.written, secret=secret)
        return f"{self.origin.label}={value}" + (f" ({self.origin})" if self.origin.line else "")

    def spelling(self, name: str) -> str:
        """How the option `name` is written in this channel."""
        if self.origin.line:
            return f"{PROPERTY_PREFIX}{name}"
        prefix = VLLM_PREFIX if self.origin.channel is Channel.VLLM_CONTAINER else OPTION_PREFIX
        return f"{prefix}{name.upper()}"


def property_settings(entries: Iterable[Property]) -> Iterator[Setting]:
    """With or without the prefix `option.`, in any case, as snake_case or camelCase."""
    for entry in entries:
        name = option_name(_ANY_PREFIX.sub("", entry.key, count=1))
        if entry.value.strip():
            yield Setting(name, entry.value, Origin(Channel.PROPERTIES, entry.key, entry.line))


def option_settings(environ: Mapping[str, str]) -> Iterator[Setting]:
    """OPTION_*, in any case. Empty values are skipped, as LMI does."""
    # Where two variables differ by case alone, the one in capitals comes first, and so wins.
    for label in sorted(environ, key=lambda label: (label != label.upper(), label)):
        if label.upper().startswith(OPTION_PREFIX):
            yield from _variable(environ, label, option_name(label[len(OPTION_PREFIX) :]), Channel.OPTION)


def variable_settings(environ: Mapping[str, str], option: Option) -> Iterator[Setting]:
    """The variables that set `option` by a whole name of their own, best first."""
    for label in option.declared.overriding:
        yield from _variable(environ, label, option.name, Channel.OVERRIDING)
    for label in option.declared.environment:
        yield from _variable(environ, label, option.name, Channel.TRANSLATED)


def known_settings(environ: Mapping[str, str], variables: Iterable[str]) -> Iterator[tuple[str, Setting]]:
    """Those of `variables` that are set, each with the one that it matches: a `*` stands for any text."""
    for variable in variables:
        for label in sorted(fnmatch.filter(environ, variable)) if "*" in variable else [variable]:
            for setting in _variable(environ, label, label):
                yield variable, setting


def server_settings(environ: Mapping[str, str]) -> Iterator[Setting]:
    """SERVING_*, by the names of server keys."""
    for label in sorted(environ):
        if label.startswith(SERVER_PREFIX):
            yield from _variable(environ, label, label.removeprefix(SERVER_PREFIX).lower())


def _variable(
    environ: Mapping[str, str], label: str, name: str, channel: Channel = Channel.TRANSLATED
) -> Iterator[Setting]:
    text = environ.get(label, "")
    if text.strip():
        yield Setting(name, text, Origin(channel, label))


def option_name(spelling: str) -> str:
    """A name as options spell it: entryPoint and ENTRY_POINT are entry_point."""
    return _CAMEL.sub("_", spelling).lower()
