"""The decorators that mark what a function of a model.py is for."""

from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

SAGEMAKER_ADAPTER_IDENTIFIER_HEADER = "X-Amzn-SageMaker-Adapter-Identifier"
INPUT_FORMATTER, PREDICTION_HANDLER, INIT_HANDLER = "is_input_formatter", "is_prediction_handler", "is_init_handler"


def input_formatter(function: Function) -> Function:
    """`function(decoded_payload, tokenizer=None, **kwargs)` returns the payload that is served."""
    return _marked(function, INPUT_FORMATTER)


def prediction_handler(function: Function) -> Function:
    """`function(data, model, **kwargs)` predicts, in place of vLLM."""
    return _marked(function, PREDICTION_HANDLER)


def init_handler(function: Function) -> Function:
    """`function(model_dir, **kwargs)` is called once at start, and returns the model."""
    return _marked(function, INIT_HANDLER)


def _marked(function: Function, mark: str) -> Function:
    setattr(function, mark, True)
    return function
