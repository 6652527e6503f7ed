"""Text of `env` -> more environment variables for the engine: LMI's `K=V,K2=V2`, or a JSON object."""

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase

from container.options.frozen import FrozenMapping
from container.options.parsers.values import json_object

# These decide which code a process runs or trusts, so only the container's own environment may set them, not the file
# beside a model.
_DANGEROUS = (
    "LD_*", "DYLD_*", "GCONV_PATH", "GLIBC_TUNABLES", "PYTHON*", "PATH", "HOME", "SHELL", "IFS", "ENV", "BASH_*",
    "VLLM_ALLOW_INSECURE_SERIALIZATION", "VLLM_PLUGINS", "SSL_CERT_*", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
    "*_PROXY", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_ENDPOINT_URL*", "HF_ENDPOINT",
)  # fmt: skip
# Lumi reads these itself, before it applies `env`.
_OURS = ("OPTION_*", "SERVING_*", "SAGEMAKER_*", "SM_VLLM_*", "ARGS_*", "HF_MODEL_*", "HF_TASK")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_SYNTAX = 'write NAME=value,OTHER=value, or {"NAME": "value"} where a value has a comma'


def engine_environment(text: str) -> FrozenMapping[str]:
    """The variables. Raises ValueError without any value, since it may be a secret."""
    pairs = _from_json(text) if text.lstrip().startswith("{") else _from_list(text)
    variables: dict[str, str] = {}
    for name, value in pairs:
        _check(name)
        if name in variables:
            raise ValueError(f"has {name} twice; give it once")
        variables[name] = value
    return FrozenMapping(variables)


def _from_list(text: str) -> list[tuple[str, str]]:
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    if any(not sign for _, sign, _ in pairs):
        raise ValueError(f"has a part without '='; {_SYNTAX}")
    return [(name.strip(), value.strip()) for name, _, value in pairs]


def _from_json(text: str) -> list[tuple[str, str]]:
    given: Mapping[str, object] = json_object(text)
    wrong = next((name for name, value in given.items() if not isinstance(value, str)), None)
    if wrong is not None:
        raise ValueError(f"has a value of {wrong!r} that is not text; put it in quotation marks")
    return [(name, str(value)) for name, value in given.items()]


def _check(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"has {name!r}, which is not the name of a variable; {_SYNTAX}")
    if any(fnmatchcase(name.upper(), pattern) for pattern in _DANGEROUS):
        raise ValueError(
            f"sets {name}, which decides what code runs or what it trusts; set it in the container's own environment "
            "if you mean to"
        )
    if any(fnmatchcase(name.upper(), pattern) for pattern in _OURS):
        raise ValueError(f"sets {name}, which Lumi reads itself before it applies this option; {_cure(name)}")


def _cure(name: str) -> str:
    if name.upper().startswith("OPTION_"):
        return f"write option.{name[len('OPTION_') :].lower()} as an option of its own"
    return "set it in the container's own environment"
