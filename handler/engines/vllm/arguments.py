"""Options, by the names of vLLM's engine arguments -> AsyncEngineArgs, checked by vLLM's own argument parser."""

import argparse
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.utils.argparse_utils import FlexibleArgumentParser

from handler.errors import OptionError


class _Parser(FlexibleArgumentParser):  # type: ignore[misc]  # vllm is untyped here
    """vLLM's parser, which says what is wrong in place of ending the process."""

    def error(self, message: str) -> NoReturn:
        raise OptionError(message)


def engine_args(arguments: Mapping[str, Any]) -> AsyncEngineArgs:
    """`arguments`, checked, as vLLM's dataclass. Raises OptionError; vLLM may look for the model's files here."""
    return AsyncEngineArgs(**checked(arguments))


def checked(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """`arguments` (typed values, or text as it stood in an option) as vLLM's parser reads them.

    Raises OptionError with every faulty option's name, its value and what vLLM has against it.
    """
    parser = AsyncEngineArgs.add_cli_args(_Parser(prog="vllm serve", add_help=False))
    taken = {action.dest for action in parser._actions}  # noqa: SLF001  # argparse has no accessor
    if missing := [name for name in arguments if name not in taken]:
        raise OptionError("\n".join(f"OPTION_{name.upper()} is not an argument of this vLLM." for name in missing))
    faults = [fault for name, value in arguments.items() if (fault := _fault(parser, name, value))]
    if faults:
        raise OptionError("\n".join(faults))
    argv = [word for name, value in arguments.items() for word in _words(name, value)]
    parsed = parser.parse_args(argv)
    return {name: getattr(parsed, name) for name in arguments}


def _fault(parser: argparse.ArgumentParser, name: str, value: Any) -> str | None:
    # One argument at a time, so that every faulty option is named in one start.
    try:
        parser.parse_args(list(_words(name, value)))
    except (OptionError, argparse.ArgumentError, ValueError, TypeError) as fault:
        reason = re.sub(r"^argument [^:]+: ", "", str(fault))
        return f"OPTION_{name.upper()}={_text(value)!r}: {reason}"
    return None


def _words(name: str, value: Any) -> Iterator[str]:
    flag = f"--{name.replace('_', '-')}"
    if value is True or (isinstance(value, str) and value.lower() == "true"):
        yield flag
    elif value is False or (isinstance(value, str) and value.lower() == "false"):
        yield f"--no-{name.replace('_', '-')}"
    elif isinstance(value, list | tuple):
        yield flag
        yield from map(str, value)
    else:
        yield f"{flag}={_text(value)}"


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, Mapping) else str(value)
