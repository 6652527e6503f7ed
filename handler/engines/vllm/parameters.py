"""Parameters that vLLM accepts, and on which it or its engine core then fails: refused here, with their paths."""

from collections.abc import Iterator, Mapping
from typing import Any

from handler.errors import InvalidRequest

# The chat template has them, and the engine core nothing of them but text: their integers have no limit.
_TEMPLATE = frozenset({"tools", "documents", "chat_template_kwargs"})
_TRANSFERS = frozenset({"kv_transfer_params", "ec_transfer_params"})
_MAX_LENGTH_PENALTY = 50.0  # the score of a beam divides by length ** penalty: a million ** 50 still is a float
_INT64 = range(-(2**63), 2**63)


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Raises InvalidRequest with the path of a parameter, as clients send them, that vLLM would fail on."""
    for name, value in parameters.items():
        for path, number in _integers(value, name) if name not in _TEMPLATE else ():
            if number not in _INT64:
                raise InvalidRequest(f"`{path}` is an integer that does not fit 64 bits.", param=path)
    length = parameters.get("max_length", 1)
    if type(length) is not int or length < 1:
        raise InvalidRequest("`max_length` must be a whole number of at least 1.", param="max_length")
    outputs = parameters.get("structured_outputs")
    if outputs is not None and not isinstance(outputs, Mapping):
        raise InvalidRequest("`structured_outputs` must be an object.", param="structured_outputs")
    arguments = parameters.get("vllm_xargs")
    for name in sorted(_TRANSFERS.intersection(arguments) if isinstance(arguments, Mapping) else ()):
        raise InvalidRequest(
            f"`vllm_xargs.{name}` is not supported: clients may not send it.", param=f"vllm_xargs.{name}"
        )
    penalty = parameters.get("length_penalty")
    if isinstance(penalty, int | float) and not abs(penalty) <= _MAX_LENGTH_PENALTY:
        raise InvalidRequest(
            f"`length_penalty` must be between -{_MAX_LENGTH_PENALTY:g} and {_MAX_LENGTH_PENALTY:g}.",
            param="length_penalty",
        )


def _integers(value: Any, path: str) -> Iterator[tuple[str, int]]:
    if isinstance(value, int):
        yield path, value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _integers(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _integers(inner, f"{path}[{i}]")
