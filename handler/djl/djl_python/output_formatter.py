"""The decorator of output formatters, and the types that formatters of the rolling batch took."""

from collections.abc import Callable
from typing import Any, TypeVar

from .request_io import RequestInput, RequestOutput, Sequence, TextGenerationOutput, TextInput, Token

__all__ = [
    "RequestInput",
    "RequestOutput",
    "Sequence",
    "TextGenerationOutput",
    "TextInput",
    "Token",
    "output_formatter",
]

Function = TypeVar("Function", bound=Callable[..., Any])

OUTPUT_FORMATTER = "is_output_formatter"


def output_formatter(function: Function) -> Function:
    """`function(response)` returns what the client gets in place of a response, or of one event of a stream."""
    setattr(function, OUTPUT_FORMATTER, True)
    return function
