import io
import json

import numpy as np
import pytest

from handler.djl.call import Call
from handler.errors import InvalidRequest, UserCodeFailed
from tests.user_code import json_call, results, write

SAGEMAKER = """
    import json
    import numpy as np

    def model_fn(model_dir):
        return {"dir": model_dir, "factor": 2}

    def input_fn(request_body, request_content_type):
        assert isinstance(request_body, bytes)
        return np.array(json.loads(request_body)["inputs"]), request_content_type

    def predict_fn(input_object, model):
        return input_object[0] * model["factor"], input_object[1]

    def output_fn(prediction, accept):
        return json.dumps({"predictions": prediction[0].tolist(), "types": [prediction[1], accept]}).encode()
"""
DEFAULTS = """
    def model_fn(model_dir):
        return 10

    def predict_fn(data, model):
        return data * model
"""


def test_sagemakers_four_functions_handle_a_request(tmp_path):
    write(tmp_path, SAGEMAKER)
    ((code, headers, body),) = results(tmp_path, json_call(b'{"inputs": [1, 2]}', accept="*/*"))
    assert (code, headers["content-type"]) == (200, "application/json")
    assert json.loads(body) == {"predictions": [2, 4], "types": ["application/json", "application/json"]}


@pytest.mark.parametrize(
    ("kind", "body", "accept", "answered"),
    [
        ("application/json", b"[1, 2]", "application/json", b"[10, 20]"),
        ("application/json; charset=utf-8", b"[1, 2]", "text/csv, */*", b"10\n20\n"),
        ("text/csv", b"1,2", "application/json", b"[10, 20]"),
        ("", b"[3]", "", b"[30]"),
    ],
)
def test_missing_functions_have_the_toolkits_defaults(tmp_path, kind, body, accept, answered):
    write(tmp_path, DEFAULTS)
    ((code, headers, sent),) = results(tmp_path, Call(body, {"content-type": kind, "accept": accept}))
    assert (code, sent) == (200, answered)
    assert headers["content-type"] == (accept.split(",")[0] or "application/json")


def test_npy_arrays_are_read_and_written(tmp_path):
    write(tmp_path, DEFAULTS)
    file = io.BytesIO()
    np.save(file, np.array([[1.5]]))
    kind = "application/x-npy"
    ((_, headers, body),) = results(tmp_path, Call(file.getvalue(), {"content-type": kind, "accept": kind}))
    assert headers["content-type"] == kind
    assert np.load(io.BytesIO(body)).tolist() == [[15.0]]


class Exploit:
    def __reduce__(self):
        return (exec, ("import sys; sys.was_exploited = True",))


def test_a_pickle_in_an_npy_is_rejected_and_not_executed(tmp_path):
    import sys

    write(tmp_path, DEFAULTS)
    file = io.BytesIO()
    np.save(file, np.array([Exploit()], dtype=object), allow_pickle=True)
    with pytest.raises(InvalidRequest, match="is not valid"):
        results(tmp_path, Call(file.getvalue(), {"content-type": "application/x-npy"}))
    assert not hasattr(sys, "was_exploited")


@pytest.mark.parametrize(
    ("kind", "body", "accept", "words"),
    [
        ("image/png", b"x", "", "image/png; send application/json, text/csv"),
        ("application/json", b"{", "", "is not valid"),
        ("application/x-npz", b"PK", "", "is not valid"),
        ("application/json", b"[1]", "image/png", "cannot be encoded as image/png"),
    ],
)
def test_a_type_that_the_defaults_cannot_read_or_write_is_an_invalid_request(tmp_path, kind, body, accept, words):
    write(tmp_path, DEFAULTS)
    with pytest.raises(InvalidRequest, match=words):
        results(tmp_path, Call(body, {"content-type": kind, "accept": accept}))


def test_decorated_functions_handle_a_request_together(tmp_path):
    write(
        tmp_path,
        """
        from djl_python import Input
        from djl_python.input_parser import input_formatter, prediction_handler, init_handler
        from djl_python.output_formatter import output_formatter

        @init_handler
        def load(model_dir, factor="1", **kwargs):
            return int(factor)

        @input_formatter
        def read(inputs: Input, **kwargs):
            return inputs.get_as_json()["inputs"]

        @prediction_handler
        def predict(data, model, factor=None, nobody_gives_this=3):
            return [item * model for item in data], factor

        @output_formatter
        def write(prediction):
            return {"predictions": prediction[0], "factor": prediction[1]}
        """,
    )
    ((code, headers, body),) = results(tmp_path, json_call(b'{"inputs": [1, 2]}'), properties={"factor": "3"})
    assert (code, headers["content-type"]) == (200, "application/json")
    assert json.loads(body) == {"predictions": [3, 6], "factor": "3"}


def test_a_prediction_handler_alone_gets_the_decoded_payload_and_no_model(tmp_path):
    write(
        tmp_path,
        """
        from djl_python.input_parser import prediction_handler
        @prediction_handler
        def predict(data, model):
            assert model is None
            return data["inputs"] if isinstance(data["inputs"], str) else [{"rows": len(data["inputs"])}]
        """,
    )
    text, rows = results(
        tmp_path,
        json_call(b'{"inputs": "plain"}'),
        Call(b"inputs\na\nb", {"content-type": "text/csv", "accept": "text/csv"}),
    )
    assert text[2] == b"plain"
    assert (rows[1]["content-type"], rows[2]) == ("text/csv", b"rows\r\n2\r\n")


def test_the_error_of_a_function_has_the_type_of_its_exception(tmp_path, caplog):
    write(tmp_path, DEFAULTS.replace("return data * model", "raise LookupError('private')"))
    with pytest.raises(UserCodeFailed, match=r"model\.py failed with LookupError; the log has the traceback"):
        results(tmp_path, json_call(b"[1]"))
    assert "private" in caplog.text
