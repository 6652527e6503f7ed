"""Resolved options -> what `python -m container check` prints: the options in force, and the same as `vllm serve`."""

import json
import shlex
from collections.abc import Iterator

from container.options import TABLE, Options, Resolved
from container.options.declaration import Option
from container.options.masking import is_secret_name, shown

_WIDEST = 48
# Where tensor_parallel_degree is max and the caller did not count the GPUs, the shell counts them.
_ALL_GPUS = '"$(nvidia-smi --list-gpus | wc -l)"'


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
            _cell(shown(text, secret=is_secret_name(name))),
            resolved.origins[name],
            "Goes to vLLM as it stands.",
        )


def _value(option: Option, options: Options) -> str:
    value = getattr(options, option.name)
    written = option.written(value)
    if not written:
        return f"({option.declared.unset})"
    return _cell(shown(written, secret=option.declared.secret))


def _cell(quoted: str) -> str:
    plain = quoted[1:-1] if quoted[0] in "'\"" else quoted
    return plain if len(plain) <= _WIDEST else f"{plain[:_WIDEST]}..."


def vllm_serve_line(options: Options, *, model: str | None = None, gpus: int | None = None) -> str:
    """The `vllm serve` command with the same engine and chat options, quoted for a shell.

    `model` is where the model is, if that is not `options.model_id`; `gpus` how many there are, for a degree of max.
    The token is left out: vLLM takes it from HF_TOKEN.
    """
    words = ["vllm serve", shlex.quote(model or options.model_id or "MODEL")]
    if options.tensor_parallel_degree == "max":
        words += ["--tensor-parallel-size", str(gpus) if gpus else _ALL_GPUS]
    flags = {option.declared.flag: getattr(options, option.name) for option in TABLE if option.declared.flag}
    for name, value in {**options.vllm_arguments(), **flags}.items():
        words += _argument(name, value)
    for name, text in options.engine_arguments.items():
        if not is_secret_name(name):
            words += _argument(name, {"true": True, "false": False}.get(text.lower(), text), negated=True)
    return " ".join(words)


def _argument(name: str, value: object, *, negated: bool = False) -> list[str]:
    """`--name value`. A flag that is off is left out, or written `--no-name` where vLLM's default may be on."""
    flag = "--" + name.replace("_", "-")
    if isinstance(value, bool):
        off = ["--no-" + flag.removeprefix("--")] if negated else []
        return [flag] if value else off
    if value is None:
        return []
    if isinstance(value, list):
        return [flag, *(shlex.quote(str(item)) for item in value)]
    return [flag, shlex.quote(json.dumps(value) if isinstance(value, dict) else str(value))]
