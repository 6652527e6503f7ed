"""The decorators that declare what a function of a model.py does."""

from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

SAGEMAKER_ADAPTER_IDENTIFIER_HEADER = "X-Amzn-SageMaker-Adapter-Identifier"
INPUT_FORMATTER, PREDICTION_HANDLER, INIT_HANDLER = "is_input_formatter", "is_prediction_handler", "is_init_handler"


def input_formatter(function: Function) -> Function:
    """`function(decoded_payload, tokenizer=None, **kwargs)` returns the payload to serve."""
    return _decorate(function, INPUT_FORMATTER)


def prediction_handler(function: Function) -> Function:
    """`function(data, model, **kwargs)` returns the prediction, in place of vLLM."""
    return _decorate(function, PREDICTION_HANDLER)


def init_handler(function: Function) -> Function:
    """`function(model_dir, **kwargs)` is called once at start and returns the model."""
    return _decorate(function, INIT_HANDLER)


def _decorate(function: Function, attribute: str) -> Function:
    setattr(function, attribute, True)
    return function
