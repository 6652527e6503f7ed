"""SM_VLLM_*, the variables of AWS's vLLM container -> Settings by the names of vLLM's arguments.

There SM_VLLM_<NAME> becomes --<name>: a bare flag where the value is empty or true, nothing where it is false
(deep-learning-containers, scripts/docker/vllm/sagemaker_args.py, read 2026-11-22). So SM_VLLM_NO_<NAME> turns a flag off.
"""

from collections.abc import Iterator, Mapping

from container.options import lmi
from container.options.findings import Findings, warning
from container.options.lmi.ignored import OFF
from container.options.names import OptionNames
from container.options.sources.settings import VLLM_PREFIX, Channel, Origin, Setting

_NEGATION = "no_"


def vllm_settings(environ: Mapping[str, str], names: OptionNames) -> Iterator[Setting]:
    """One for each variable that has a value, or that is a flag without one."""
    for label in _labels(environ):
        name, text = _name(label), environ[label]
        origin, positive = Origin(Channel.VLLM_CONTAINER, label), name.removeprefix(_NEGATION)
        if name != positive and not _is_flag(name, names) and _is_flag(positive, names):
            if text.strip().lower() not in OFF:
                yield Setting(positive, "false", origin, text)
        elif not text.strip():
            if _is_flag(name, names):
                yield Setting(name, "true", origin, text)
        elif text.strip().lower() != "false" or names.option(name) is None or _is_flag(name, names):
            yield Setting(name, text, origin)


def empty_values(environ: Mapping[str, str], names: OptionNames) -> Findings:
    """The warnings about arguments that need a value and have none, which end vLLM's start in AWS's container."""
    labels = (label for label in _labels(environ) if not environ[label].strip())
    unused = (label for label in labels if not _is_flag(_name(label).removeprefix(_NEGATION), names))
    return Findings.combine(
        warning(f"{label} is empty and has no effect; give it a value, or remove it") for label in unused
    )


def _labels(environ: Mapping[str, str]) -> list[str]:
    return sorted(label for label in environ if label.startswith(VLLM_PREFIX))


def _name(label: str) -> str:
    return label.removeprefix(VLLM_PREFIX).lower()


def _is_flag(name: str, names: OptionNames) -> bool:
    """Of vLLM's own arguments it is vLLM's parser that knows."""
    if (option := names.option(name)) is not None:
        return isinstance(option.default, bool)
    return name in lmi.option_names() or names.is_engine_argument(name)
