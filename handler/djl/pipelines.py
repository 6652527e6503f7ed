"""The three ways in which user code may own a model -> one shape: `load` once, then `handle` for each request."""

import inspect
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from handler.djl.djl_python import Input, Output
from handler.djl.djl_python.encode_decode import decode, encode
from handler.djl.djl_python.outputs import JSON
from handler.djl.serialization import http_status
from handler.djl.streams import Stream, is_stream
from handler.djl.user_module import Function, UserModule, call_with_options
from handler.errors import InvalidRequest, StartError


class Pipeline(Protocol):
    """What `CodeHandler` calls, in the thread of the code."""

    async def load(self, inputs: Input) -> None:
        """Load the model. `inputs` has the options as its properties, and no content."""

    def handle(self, inputs: Input) -> Any:
        """The Output of a request, a stream, or None. May be async."""


def pipeline(code: UserModule) -> Pipeline:
    """How `code` handles requests. Its handler comes first, then its decorated functions."""
    if code.handle is not None:
        return Handler(code.handle, code.entry.file)
    if code.prediction_handler is not None:
        return DecoratedFunctions(code, code.prediction_handler)
    return SageMakerFunctions(code.functions)


class Handler:
    """A `handle` function, which loads the model when it is called with an empty Input."""

    def __init__(self, function: Function, file: Path) -> None:
        self.handle = function
        self._file = file

    async def load(self, inputs: Input) -> None:
        output = self.handle(inputs)
        if inspect.isawaitable(output):
            output = await output
        if is_stream(output):  # a generator does nothing until it is read
            stream = Stream(output)
            while await stream.next_chunk() is not None:
                pass
            await stream.close()
        elif isinstance(output, Output) and http_status(output.code) >= 400:
            reason = output.body()[:500].decode(errors="replace")
            raise StartError(f"{self._file} failed to load the model: {reason}")


class SageMakerFunctions:
    """`model_fn`, `input_fn`, `predict_fn` and `output_fn`. The toolkit has defaults for `input_fn` and `output_fn`."""

    def __init__(self, functions: Mapping[str, Function]) -> None:
        self._functions = functions
        self._model: Any = None

    async def load(self, inputs: Input) -> None:
        self._model = self._functions["model_fn"](inputs.properties["model_dir"])

    def handle(self, inputs: Input) -> Output:
        content_type = str(inputs.get_property("content-type") or JSON)
        accept = accepted_type(inputs)
        read: Function = self._functions.get("input_fn", _default_input)
        write: Function = self._functions.get("output_fn", _default_output)
        prediction = self._functions["predict_fn"](read(inputs.get_as_bytes() or b"", content_type), self._model)
        output = write(prediction, accept)
        body, kind = output if isinstance(output, tuple) and len(output) == 2 else (output, accept)
        if isinstance(body, Output):
            return body
        return Output().add(body).add_property("Content-Type", str(kind))


class DecoratedFunctions:
    """`@init_handler`, `@input_formatter`, `@prediction_handler` (`predict`) and `@output_formatter`."""

    def __init__(self, code: UserModule, predict: Function) -> None:
        self._code = code
        self._predict = predict
        self._model: Any = None
        self._options: Mapping[str, Any] = {}

    async def load(self, inputs: Input) -> None:
        self._options = inputs.properties
        if self._code.init_handler is not None:
            model_dir = self._options["model_dir"]
            self._model = call_with_options(self._code.init_handler, model_dir, options=self._options)

    def handle(self, inputs: Input) -> Output:
        if self._code.input_formatter is not None:
            data = call_with_options(self._code.input_formatter, inputs, options=self._options)
        else:
            data = decode(inputs, inputs.get_property("content-type"))
        prediction = call_with_options(self._predict, data, self._model, options=self._options)
        if self._code.output_formatter is not None:
            prediction = self._code.output_formatter(prediction)
        if isinstance(prediction, Output):
            return prediction
        if isinstance(prediction, str | bytes | bytearray):
            return Output().add(prediction).add_property("Content-Type", accepted_type(inputs))
        return encode(Output(), prediction, accepted_type(inputs))


def accepted_type(inputs: Input) -> str:
    """The first type that the client accepts. JSON if it accepts any."""
    first = str(inputs.get_property("accept") or JSON).split(",")[0].split(";")[0].strip().lower()
    return JSON if first in ("", "*/*", "application/*") else first


def _default_input(body: bytes, content_type: str) -> Any:
    """An array, decoded by the toolkit except for .npy, which the toolkit would unpickle."""
    import numpy as np  # noqa: PLC0415  # half a second, only where it is used
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
        raise InvalidRequest(f"The body is not valid {kind[:80]}, its content type.", code="invalid_body") from broken


def _default_output(prediction: Any, accept: str) -> Any:
    from sagemaker_inference import default_inference_handler, errors  # noqa: PLC0415

    try:
        return default_inference_handler.DefaultInferenceHandler().default_output_fn(prediction, accept)
    except errors.UnsupportedFormatError as unknown:
        raise InvalidRequest(
            f"The response cannot be encoded as {accept[:80]}; accept application/json, text/csv or application/x-npy.",
            code="accept",
        ) from unknown
