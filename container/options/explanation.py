"""Resolved options -> the output of `python -m container check`: the options in force and the `vllm serve` line."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from container.masking import MASK, is_secret_name, mask, quote
from container.options import TABLE, Options, Resolved
from container.options.declaration import Option
from container.options.frozen import thaw

_MAX_WIDTH = 48


def explain(resolved: Resolved) -> str:
    """Every option in force with its value, origin and meaning, then the warnings. No secret is shown."""
    rows = [("OPTION", "VALUE", "FROM", "MEANING"), *_rows(resolved)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        "  ".join((*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3])) for row in rows
    ]
    return "\n".join((*(line.rstrip() for line in lines), *(f"warning: {text}" for text in resolved.warnings)))


def _rows(resolved: Resolved) -> Iterator[tuple[str, str, str, str]]:
    for option in TABLE:
        yield option.name, _value(option, resolved.options), resolved.origins[option.name], option.declared.meaning
    for name, text in resolved.options.engine_arguments.items():
        yield (
            name,
            _cell(quote(text, secret=is_secret_name(name))),
            resolved.origins[name],
            "Passed through to vLLM.",
        )


def _value(option: Option, options: Options) -> str:
    text = option.text(getattr(options, option.name))
    if not text:
        return f"({option.declared.unset})"
    return _cell(quote(text, secret=option.declared.secret))


def _cell(quoted: str) -> str:
    plain = quoted[1:-1] if quoted[0] in "'\"" else quoted
    return plain if len(plain) <= _MAX_WIDTH else f"{plain[:_MAX_WIDTH]}..."


def vllm_serve_line(options: Options, arguments: Mapping[str, Any], names: Sequence[str]) -> str:
    """The `vllm serve` command that starts the same engine and chat, quoted for a shell.

    `arguments` are the typed engine arguments, to which the options add those that only vLLM knows; `names` are what the
    model is served under. The token is left out (vLLM takes it from HF_TOKEN), and every other secret is masked.
    """
    words = [f"{name}={_quote_variable(name, value)}" for name, value in options.env.items()]
    words += ["vllm serve", shlex.quote(str(arguments["model"]))]
    flags = {option.declared.flag: getattr(options, option.name) for option in TABLE if option.declared.flag}
    all_arguments = {**arguments, **options.engine_arguments, "served_model_name": list(names), **flags}
    for name, value in all_arguments.items():
        if name != "model" and not is_secret_name(name):
            words += _argument(name, {"true": True, "false": False}.get(str(value).lower(), value))
    if arguments.get("node_rank", 0) > 0:
        words.append("--headless")
    if options.tensor_parallel_degree == "max":
        words.append("# and --tensor-parallel-size with the number of GPUs, if there are any")
    return " ".join(words)


def _quote_variable(name: str, value: str) -> str:
    return MASK if is_secret_name(name) else shlex.quote(mask(value))


def _argument(name: str, value: Any) -> list[str]:
    """`--name value`, or `--no-name` for a flag that is off: vLLM's own default may be on."""
    flag = "--" + name.replace("_", "-")
    if isinstance(value, bool):
        return [flag if value else "--no-" + flag.removeprefix("--")]
    if value in (None, ()):
        return []
    if isinstance(value, list | tuple):
        return [flag, *(shlex.quote(mask(str(item))) for item in value)]
    text = json.dumps(thaw(value)) if isinstance(value, Mapping) else str(value)
    return [flag, *(shlex.quote(mask(word)) for word in _items(text))]


def _items(text: str) -> list[str]:
    """The values of an argument that Lumi has no option for: those of a JSON list, or the text."""
    with suppress(ValueError):
        found = json.loads(text)
        if isinstance(found, list):
            return [str(item) for item in found]
    return [text]
