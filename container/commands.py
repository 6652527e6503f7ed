"""The words after the image's name -> a Command: what to do, and the settings that LMI's arguments stand for.

The arguments are djl-serving's: existing scripts, and SageMaker's ModelBuilder, send them.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from handler.errors import StartError

USAGE = """\
usage: serve | check [-m [NAME=]MODEL] [-s DIRECTORY] [-f FILE]
       ping

  serve  serve the model that HF_MODEL_ID or OPTION_MODEL_ID names, or the one in /opt/ml/model
  check  print every option in force, its origin and meaning, and the equivalent `vllm serve` line; loads nothing
  ping   exit with 0 if the server on this machine is ready

  -m, --models       the model: file:/a/directory, s3://bucket/prefix or a Hugging Face id, and the name to serve it under
  -s, --model-store  the directory that holds the model, in place of /opt/ml/model
  -f, --config-file  server settings (job_queue_size=100 and so on) that the environment does not say
  -h, --help         this text
"""
COMMANDS = ("serve", "check", "ping")
_FLAGS = {"-m": "models", "-s": "model-store", "-f": "config-file", "-h": "help", "-w": "workflows", "-i": "install"}
# name:version:engine:device=address, in brackets or not; only the name means something here.
_NAMED = re.compile(r"\[?(?P<name>[\w.-]+)(?::[^=/\]]*)?]?=(?P<address>.+)")
_INSTEAD = {
    "workflows": "Lumi has no workflows; it serves one model.",
    "install": "Nothing is installed at a start; build an image FROM this one.",
}


@dataclass(frozen=True)
class Command:
    """What to do. `settings` are variables that the environment's own win over; `model_directory` is where the model
    and its serving.properties are, and `server_file` LMI's config.properties, if not where they usually are."""

    name: str
    settings: Mapping[str, str] = field(default_factory=dict)
    model_directory: Path | None = None
    server_file: Path | None = None


def parse(words: Sequence[str]) -> Command:
    """Raises StartError with what is wrong and what may be said."""
    name, *rest = words or ["serve"]
    if name in ("-h", "--help", "help"):
        return Command("help")
    if name.startswith("-"):
        name, rest = "serve", list(words)
    if name == "batch":
        raise StartError(
            "The command batch is not there yet: requests in files cannot be answered, only those over HTTP."
        )
    if name not in COMMANDS:
        raise StartError(f"{name!r} is not a command.\n{USAGE}")
    settings: dict[str, str] = {}
    directory: Path | None = None
    server_file: Path | None = None
    for flag, values in _arguments(rest):
        if flag == "help":
            return Command("help")
        if flag == "config-file":
            server_file = _file(_single(flag, values))
        elif flag == "model-store":
            directory = directory or _existing(_single(flag, values))
        else:
            directory = _model(_single(flag, values), settings) or directory
    return Command(name, settings, directory, server_file)


def _arguments(words: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Each argument by its long name, with the words that follow it."""
    found: list[tuple[str, list[str]]] = []
    for word in words:
        flag, _, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if not word.startswith("-"):
            if not found or found[-1][0] == "help":
                raise StartError(f"{word!r} belongs to no argument.\n{USAGE}")
            found[-1][1].append(word)
            continue
        name = _FLAGS.get(flag, flag.removeprefix("--"))
        if name not in _FLAGS.values():
            raise StartError(f"{word!r} is not an argument.\n{USAGE}")
        if name in _INSTEAD:
            raise StartError(f"{word!r} cannot be had: {_INSTEAD[name]}")
        found.append((name, [value] if value else []))
    yield from found


def _single(flag: str, values: list[str]) -> str:
    if len(values) != 1:
        what = "one model is served" if flag == "models" else "it takes one value"
        raise StartError(f"--{flag} has {len(values)} values ({', '.join(values) or 'none'}), but {what}.")
    return values[0]


def _model(value: str, settings: dict[str, str]) -> Path | None:
    """The directory that `value` names; of anything else the address goes to `settings`, as the name does."""
    named = _NAMED.fullmatch(value)
    if named:
        settings["OPTION_SERVED_MODEL_NAME"] = named["name"]
    address = named["address"] if named else value
    if address.startswith(("file:", "/")):
        return _existing(re.sub(r"^file:(//)?", "", address))
    settings["OPTION_MODEL_ID"] = address
    return None


def _file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise StartError(f"The file {text} of --config-file is not there; mount it, or correct the path.")
    return path


def _existing(text: str) -> Path:
    path = Path(text)
    try:
        list(path.iterdir())
    except OSError as fault:
        raise StartError(
            f"The directory {text} cannot be read ({fault.strerror}); mount it, or correct the path."
        ) from fault
    return path
