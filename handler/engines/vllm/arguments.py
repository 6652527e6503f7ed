"""Typed engine arguments, and the text of those that only vLLM knows -> AsyncEngineArgs."""

import argparse
import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.utils.argparse_utils import FlexibleArgumentParser

from handler.errors import OptionError


class _Parser(FlexibleArgumentParser):  # type: ignore[misc]  # vllm is untyped here
    """vLLM's parser, which raises in place of ending the process."""

    def error(self, message: str) -> NoReturn:
        raise OptionError(message)


def parse_texts(texts: Mapping[str, str], described: Mapping[str, str]) -> dict[str, Any]:
    """The values that vLLM's own parser reads from the text of engine arguments, by their names.

    Raises OptionError with every faulty option as it is `described`, and vLLM's reason. vLLM may look for the model's files here.
    """
    if not texts:
        return {}
    parser = AsyncEngineArgs.add_cli_args(_Parser(prog="vllm serve", add_help=False))
    known = {action.dest: action.nargs for action in parser._actions}  # noqa: SLF001  # argparse has no accessor
    values: dict[str, Any] = {}
    faults: list[str] = []
    for name, text in texts.items():
        try:
            if name not in known:
                raise OptionError("is not an argument of this vLLM")  # noqa: TRY301  # reported with the others
            values[name] = getattr(parser.parse_args(_words(name, text, several=known[name] == "+")), name)
        except (OptionError, argparse.ArgumentError, ValueError, TypeError) as fault:
            reason = re.sub(r"^argument [^:]+: ", "", str(fault))
            faults.append(f"{described.get(name, f'{name}={text!r}')}: {reason}")
    if faults:
        raise OptionError("\n".join(faults))
    return values


def _words(name: str, text: str, *, several: bool) -> list[str]:
    """The arguments of a command line; a flag that takes `several` values may have them as a JSON list."""
    flag = name.replace("_", "-")
    if several and text.lstrip().startswith("["):
        return [f"--{flag}", *map(str, json.loads(text))]
    return [{"true": f"--{flag}", "false": f"--no-{flag}"}.get(text.lower(), f"--{flag}={text}")]
