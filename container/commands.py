"""Command line -> a Command: what to do, and the settings that LMI's arguments stand for.

The arguments are djl-serving's: existing scripts, and SageMaker's ModelBuilder, send them.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from handler.errors import StartError

USAGE = """\
usage: serve | check [-m [NAME=]MODEL] [-s DIRECTORY] [-f FILE]
       check [--instance-type TYPE]
       diff REQUEST [-m [NAME=]MODEL] [-s DIRECTORY] [-f FILE]
       ping

  serve  serve the model that HF_MODEL_ID or OPTION_MODEL_ID names, or the one in /opt/ml/model
  check  print every option in force, what the model is, and the equivalent `vllm serve` line; loads nothing
  diff   print side by side what transformers and vLLM make of the request in a JSON file (- is stdin): rendered prompt,
         tokens, images, sampling, answer; the exit code is that of diff(1)
  ping   exit with 0 if the server on this machine is ready

  -m, --models       the model: file:/a/directory, s3://bucket/prefix or a Hugging Face id, and the name to serve it under
  -s, --model-store  the directory that holds the model, in place of /opt/ml/model
  -f, --config-file  server settings (job_queue_size=100 and so on); those of the environment win
  --instance-type    of check: the SageMaker instance type that the model is to fit, such as ml.g5.2xlarge
  -h, --help         this text
"""
COMMANDS = ("serve", "check", "diff", "ping")
_FLAGS = {"-m": "models", "-s": "model-store", "-f": "config-file", "-h": "help", "-w": "workflows", "-i": "install"}
_OF_CHECK = "instance-type"
# name:version:engine:device=address, in brackets or not; only the name has an effect.
_NAMED = re.compile(r"\[?(?P<name>[\w.-]+)(?::[^=/\]]*)?]?=(?P<address>.+)")
_UNSUPPORTED = {
    "workflows": "Lumi has no workflows; it serves one model.",
    "install": "a start installs nothing; build an image FROM this one.",
}


@dataclass(frozen=True)
class Command:
    """What to do. `settings` are variables, of which the environment's own win; `model_directory` is where the model
    and its serving.properties are, and `server_file` LMI's config.properties, if not in their usual places. `instance_type` is
    what `check` compares with, `request` the file of `diff`."""

    name: str
    settings: Mapping[str, str] = field(default_factory=dict)
    model_directory: Path | None = None
    server_file: Path | None = None
    instance_type: str | None = None
    request: str | None = None


def parse(arguments: Sequence[str]) -> Command:
    """Raises StartError with what is wrong and the usage."""
    name, *rest = arguments or ["serve"]
    if name in ("-h", "--help", "help"):
        return Command("help")
    if name.startswith("-"):
        name, rest = "serve", list(arguments)
    _check_name(name, rest)
    request = rest.pop(0) if name == "diff" else None
    settings: dict[str, str] = {}
    directory: Path | None = None
    server_file: Path | None = None
    instance_type: str | None = None
    for flag, values in _flags(rest):
        if flag == "help":
            return Command("help")
        if flag == "config-file":
            server_file = _file(_single(flag, values))
        elif flag == _OF_CHECK:
            instance_type = _instance_type(name, _single(flag, values))
        elif flag == "model-store":
            directory = directory or _readable_directory(_single(flag, values))
        else:
            directory = _model(_single(flag, values), settings) or directory
    return Command(name, settings, directory, server_file, instance_type, request)


def _check_name(name: str, rest: Sequence[str]) -> None:
    if name == "batch":
        raise StartError("The command batch is not supported yet: requests are answered over HTTP, not from files.")
    if name not in COMMANDS:
        raise StartError(f"{name!r} is not a command.\n{USAGE}")
    if name == "diff" and (not rest or (rest[0].startswith("-") and rest[0] != "-")):
        raise StartError(f"The command diff needs the file of a request, before its other arguments.\n{USAGE}")
    if name == "ping" and rest:
        raise StartError(f"The command ping takes no arguments; {rest[0]!r} is one.\n{USAGE}")


def _flags(words: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Each flag by its long name, with the words that follow it."""
    found: list[tuple[str, list[str]]] = []
    for word in words:
        flag, _, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if not word.startswith("-"):
            if not found or found[-1][0] == "help":
                raise StartError(f"{word!r} does not follow an argument that takes it.\n{USAGE}")
            found[-1][1].append(word)
            continue
        name = _FLAGS.get(flag, flag.removeprefix("--"))
        if name not in (*_FLAGS.values(), _OF_CHECK):
            raise StartError(f"{word!r} is not an argument.\n{USAGE}")
        if name in _UNSUPPORTED:
            raise StartError(f"{word!r} is not supported: {_UNSUPPORTED[name]}")
        found.append((name, [value] if value else []))
    yield from found


def _single(flag: str, values: list[str]) -> str:
    if len(values) != 1:
        what = "Lumi serves one model" if flag == "models" else "it takes one value"
        raise StartError(f"--{flag} has {len(values)} values ({', '.join(values) or 'none'}), but {what}.")
    return values[0]


def _model(value: str, settings: dict[str, str]) -> Path | None:
    """The directory that `value` names. Another address goes to `settings`, and so does the name."""
    named = _NAMED.fullmatch(value)
    if named:
        settings["OPTION_SERVED_MODEL_NAME"] = named["name"]
    address = named["address"] if named else value
    if address.startswith(("file:", "/")):
        return _readable_directory(re.sub(r"^file:(//)?", "", address))
    settings["OPTION_MODEL_ID"] = address
    return None


def _instance_type(command: str, value: str) -> str:
    if command != "check":
        raise StartError(
            f"--instance-type {value} is an argument of check; {command} runs on the machine that it is on."
        )
    return value


def _file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise StartError(f"The file {text} of --config-file does not exist; mount it, or correct the path.")
    return path


def _readable_directory(text: str) -> Path:
    path = Path(text)
    try:
        list(path.iterdir())
    except OSError as fault:
        raise StartError(
            f"The directory {text} cannot be read ({fault.strerror}); mount it, or correct the path."
        ) from fault
    return path
