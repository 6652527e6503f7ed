"""SageMaker's functions, or decorated ones, in a row -> the same as a handler: an `init` and a `handle`."""

import inspect
import io
from collections.abc import Callable, Mapping
from typing import Any

from handler.djl.djl_python import Input, Output
from handler.djl.djl_python.encode_decode import decode, encode
from handler.djl.user_module import Function, UserModule
from handler.errors import InvalidRequest

JSON = "application/json"


def pipeline(code: UserModule) -> "Functions | Decorated":
    """What serves a file that has no handler of its own."""
    return Functions(code) if code.functions else Decorated(code)


class Functions:
    """`model_fn`, `input_fn`, `predict_fn` and `output_fn`; the toolkit's defaults stand in for the second and last."""

    def __init__(self, code: UserModule) -> None:
        self._functions = code.functions
        self._model: Any = None

    def init(self, properties: Mapping[str, Any]) -> None:
        self._model = self._functions["model_fn"](properties["model_dir"])

    def handle(self, inputs: Input) -> Output:
        content_type = str(inputs.get_property("content-type") or JSON)
        accept = accepted(inputs)
        read: Function = self._functions.get("input_fn", _default_input)
        write: Function = self._functions.get("output_fn", _default_output)
        prediction = self._functions["predict_fn"](read(inputs.get_as_bytes() or b"", content_type), self._model)
        answer = write(prediction, accept)
        body, kind = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer, accept)
        if isinstance(body, Output):
            return body
        return Output().add(body).add_property("Content-Type", str(kind))


class Decorated:
    """`@init_handler`, `@input_formatter`, `@prediction_handler` and `@output_formatter`, around a model of the code's."""

    def __init__(self, code: UserModule) -> None:
        self._code = code
        self._model: Any = None
        self._properties: Mapping[str, Any] = {}

    def init(self, properties: Mapping[str, Any]) -> None:
        self._properties = properties
        if self._code.init_handler is not None:
            self._model = keyword_call(self._code.init_handler, properties["model_dir"], properties=properties)

    def handle(self, inputs: Input) -> Output:
        if self._code.input_formatter is not None:
            data = keyword_call(self._code.input_formatter, inputs, properties=self._properties)
        else:
            data = decode(inputs, inputs.get_property("content-type"))
        predict = self._code.prediction_handler
        assert predict is not None  # noqa: S101  # else vLLM would serve
        prediction = keyword_call(predict, data, self._model, properties=self._properties)
        if self._code.output_formatter is not None:
            prediction = self._code.output_formatter(prediction)
        if isinstance(prediction, Output):
            return prediction
        if isinstance(prediction, str | bytes | bytearray):
            return Output().add(prediction).add_property("Content-Type", accepted(inputs))
        return encode(Output(), prediction, accepted(inputs))


def keyword_call(function: Callable[..., Any], *arguments: Any, properties: Mapping[str, Any], **more: Any) -> Any:
    """`function` with what of `more` and of the options it has a name for, or all of it where it takes any name."""
    offered = {"configs": dict(properties), "properties": dict(properties), **more}
    parameters = inspect.signature(function).parameters.values()
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    taken = set(positional[: len(arguments)])
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        offered = {**{name: value for name, value in properties.items() if name.isidentifier()}, **offered}
        named = set(offered)
    else:
        named = {parameter.name for parameter in parameters}
        offered = {**properties, **offered}
    return function(*arguments, **{name: value for name, value in offered.items() if name in named - taken})


def accepted(inputs: Input) -> str:
    """The first type that the client accepts, JSON where it takes any."""
    first = str(inputs.get_property("accept") or JSON).split(",")[0].split(";")[0].strip().lower()
    return JSON if first in ("", "*/*", "application/*") else first


def _default_input(body: bytes, content_type: str) -> Any:
    """An array, as the toolkit decodes it, but for .npy: the toolkit would unpickle what a client sends."""
    import numpy as np  # noqa: PLC0415  # half a second, for those who use it
    from sagemaker_inference import content_types, decoder, errors  # noqa: PLC0415

    kind = content_type.split(";", maxsplit=1)[0].strip().lower()
    try:
        if kind == content_types.NPY:
            return np.load(io.BytesIO(body), allow_pickle=False)
        return decoder.decode(body.decode() if kind in content_types.UTF8_TYPES else body, kind)
    except errors.UnsupportedFormatError as unknown:
        known = f"{content_types.JSON}, {content_types.CSV}, {content_types.NPY} or {content_types.NPZ}"
        raise InvalidRequest(f"The content type is {kind[:80]}; send {known}.", code="content_type") from unknown
    except Exception as broken:
        raise InvalidRequest(
            f"The body is not what its content type {kind[:80]} says.", code="invalid_body"
        ) from broken


def _default_output(prediction: Any, accept: str) -> Any:
    from sagemaker_inference import default_inference_handler, errors  # noqa: PLC0415

    try:
        return default_inference_handler.DefaultInferenceHandler().default_output_fn(prediction, accept)
    except errors.UnsupportedFormatError as unknown:
        raise InvalidRequest(
            f"The answer cannot be given as {accept[:80]}; accept application/json, text/csv or application/x-npy.",
            code="accept",
        ) from unknown
