import asyncio
import datetime as dt
import importlib
import io
import json
import sys

import numpy as np
import pytest
from PIL import Image

from handler.djl.djl_python.outputs import Frame
from handler.djl.import_hook import register_djl_python

register_djl_python()

from djl_python import Input, Output, PairList  # noqa: E402  # known by this name only now
from djl_python.async_utils import (  # noqa: E402
    create_non_stream_output,
    create_stream_chunk_output,
    handle_streaming_response,
)
from djl_python.encode_decode import decode, encode  # noqa: E402
from djl_python.huggingface import get_torch_dtype_from_str  # noqa: E402
from djl_python.input_parser import init_handler, input_formatter, prediction_handler  # noqa: E402
from djl_python.output_formatter import TextGenerationOutput, output_formatter  # noqa: E402
from djl_python.request_io import RequestInput, Sequence, TextInput, Token  # noqa: E402
from djl_python.service_loader import has_function_in_module, load_model_service  # noqa: E402
from djl_python.streaming_utils import StreamingUtils  # noqa: E402

# What LMI's own package has and user code imports: a name that vanishes breaks somebody's model.py.
SURFACE = {
    "djl_python": ["Input", "Output", "PairList", "Session", "SessionManager"],
    "djl_python.inputs": ["Input"],
    "djl_python.outputs": ["Output"],
    "djl_python.pair_list": ["PairList"],
    "djl_python.encode_decode": ["decode", "decode_csv", "encode", "encode_csv"],
    "djl_python.async_utils": [
        "create_non_stream_output",
        "create_stream_chunk_output",
        "handle_streaming_response",
    ],
    "djl_python.streaming_utils": ["StreamingUtils"],
    "djl_python.input_parser": [
        "SAGEMAKER_ADAPTER_IDENTIFIER_HEADER",
        "init_handler",
        "input_formatter",
        "prediction_handler",
    ],
    "djl_python.output_formatter": ["RequestOutput", "TextGenerationOutput", "output_formatter"],
    "djl_python.request_io": [
        "RequestInput",
        "RequestOutput",
        "Sequence",
        "TextGenerationOutput",
        "TextInput",
        "Token",
    ],
    "djl_python.service_loader": ["ModelService", "has_function_in_module", "load_model_service"],
    "djl_python.huggingface": ["get_torch_dtype_from_str"],
}
INPUT = """is_empty is_batch get_batch_size get_batches get_function_name get_properties get_property contains_key get_content
get_data get_as_bytes get_as_string get_as_json get_as_image get_as_numpy get_as_npz get_as_csv read"""
OUTPUT = """set_code set_message error add_property get_properties get_property add add_as_string add_as_json add_as_numpy
add_as_npz add_stream_content finalize execute_finalize binary_encode write_utf8 send"""


class Kept:
    @staticmethod
    def method():
        """A function to decorate."""


def request(body=b"", key="data", **properties):
    inputs = Input()
    inputs.properties.update({name.replace("_", "-"): value for name, value in properties.items()})
    inputs.content.add(key, body)
    return inputs


@pytest.mark.parametrize("module", SURFACE)
def test_the_names_that_lmi_documents_can_be_imported(module):
    found = importlib.import_module(module)
    assert [name for name in SURFACE[module] if not hasattr(found, name)] == []


def test_every_documented_method_is_there():
    assert [name for name in INPUT.split() if not callable(getattr(Input, name, None))] == []
    assert [name for name in OUTPUT.split() if not callable(getattr(Output, name, None))] == []


def test_user_code_and_the_server_share_one_output_type():
    from handler.djl.djl_python.outputs import Output as Own

    finders = list(sys.meta_path)
    register_djl_python()
    assert Output is Own
    assert sys.meta_path == finders


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("from djl_python.huggingface import HuggingFaceService", "vLLM serves the model"),
        ("from djl_python.lmi_vllm.vllm_async_service import VLLMHandler", "a part of LMI that is not available here"),
        ("from djl_python.rolling_batch import RollingBatch", "docs/user-code.md"),
        ("from djl_python.async_utils import register_adapter", "the server registers adapters"),
    ],
)
def test_importing_what_is_not_available_says_what_to_do_instead(statement, words):
    with pytest.raises(ImportError, match=words):
        exec(statement)


def test_importing_an_unknown_name_is_an_ordinary_import_error():
    with pytest.raises(ImportError, match="cannot import name 'Nothing'"):
        exec("from djl_python import Nothing")


def test_pairs_keep_their_order_and_keys_may_be_none_or_repeat():
    pairs = PairList(keys=["a"], values=[1], pair_list=[(None, 2)], pair_map={"a": 3})
    pairs.add("first", 0, index=0)
    pairs.add(pair=("empty", b""))
    assert (pairs.get_keys(), pairs.get_values()) == (["first", "a", None, "a", "empty"], [0, 1, 2, 3, b""])
    assert (pairs.get("a"), pairs.get("z"), pairs.key_at(1), pairs.value_at(2), pairs.size()) == (1, None, "a", 2, 5)
    with pytest.raises(ValueError, match="2 keys and 0 values"):
        PairList(keys=[1, 2])


def test_properties_keep_their_case_and_lookups_ignore_it():
    found = Input().get_properties()
    found.update({"Content-Type": "a"}, b=1)
    found["content-type"] = "c"
    assert (dict(found), found.get("CONTENT-TYPE"), "B" in found) == ({"Content-Type": "c", "b": 1}, "c", True)
    assert (found.setdefault("B", 2), found.setdefault("new", 3), found.pop("NEW"), found.pop("new", 4)) == (1, 3, 3, 4)
    kept = found.copy()
    del found["CONTENT-type"]
    assert (list(found), kept["content-TYPE"]) == (["b"], "c")
    with pytest.raises(KeyError, match="nothing"):
        found["nothing"]
    found.clear()
    found["B"] = 5
    assert found == {"B": 5}


def test_an_input_returns_its_content_in_several_types():
    assert request(b'{"a": [1]}').get_as_json() == {"a": [1]}
    assert request("grüß".encode()).get_as_string() == "grüß"
    assert request(b"x,y\n1,2\n").get_as_csv() == [{"x": "1", "y": "2"}]
    two = request(b"body")
    two.content.add("other", b"more")
    assert (two.get_as_bytes(), two.get_as_bytes("other"), two.contains_key("nope")) == (b"body", b"more", False)
    with pytest.raises(KeyError, match=r"no content 'nope'; it has \['data', 'other'\]"):
        two.get_as_string("nope")
    assert request(b"only", key="odd").get_as_bytes() == b"only"
    assert two.get_batches() == [two]
    assert (two.is_batch(), two.get_batch_size()) == (False, 1)


def test_an_empty_input_has_no_content():
    empty = Input()
    assert (empty.is_empty(), empty.get_as_bytes(), empty.get_data()) == (True, None, None)
    with pytest.raises(ValueError, match="is_empty"):
        empty.get_as_json()


def test_images_and_arrays_are_decoded():
    file = io.BytesIO()
    Image.new("RGBA", (3, 2), "red").save(file, "png")
    image = request(file.getvalue(), content_type="image/png").get_data()
    assert (image.mode, image.size) == ("RGB", (3, 2))
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    npy, npz = io.BytesIO(), io.BytesIO()
    np.save(npy, array)
    np.savez(npz, array, array + 1)
    assert np.array_equal(request(npy.getvalue(), content_type="application/x-npy").get_data(), array)
    assert [a.shape for a in request(npz.getvalue(), content_type="tensor/npz").get_data()] == [(2, 3), (2, 3)]
    assert np.array_equal(request(npz.getvalue()).get_as_numpy()[1], array + 1)


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "int32", "int64", "uint8", "int8", "bool"])
def test_an_ndlist_round_trips(dtype):
    arrays = [np.array([[0, 1], [2, 3]]).astype(dtype), np.array(7).astype(dtype), np.zeros((0, 3), dtype)]
    encoded = Output().add_as_numpy(arrays).body()
    read = request(encoded, content_type="tensor/ndlist").get_data()
    assert [(a.dtype, a.tolist()) for a in read] == [(a.dtype, a.tolist()) for a in arrays]


def test_an_ndlist_as_djl_writes_it_is_read():
    text = lambda words: len(words).to_bytes(2, "big") + words.encode()  # noqa: E731
    number = lambda value: value.to_bytes(4, "big")  # noqa: E731
    encoded = number(1) + text("NDAR") + number(3) + b"\x01" + text("name") + text("default") + text("FLOAT32")
    encoded += number(2) + (1).to_bytes(8, "big") + (2).to_bytes(8, "big") + number(2) + b"\0?\0?"
    encoded += b">" + number(8) + np.array([1.5, -2], ">f4").tobytes()
    (array,) = request(encoded).get_as_numpy()
    assert array.tolist() == [[1.5, -2.0]]
    for broken in (encoded[:-1], encoded.replace(b"NDAR", b"RADN"), encoded.replace(b"FLOAT32", b"OBJECT3")):
        with pytest.raises(ValueError, match="NDList"):
            request(broken).get_as_numpy()


def test_nothing_that_a_client_sends_is_unpickled():
    file = io.BytesIO()
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        request(file.getvalue()).get_as_numpy()


def test_an_output_adds_text_bytes_and_json():
    assert Output().add("grüß").body() == "grüß".encode()
    assert Output().add(bytearray(b"x")).body() == b"x"
    assert Output().add({"a": 1}).body() == b'{\n  "a":1\n}'
    assert Output().add_as_string("x").body() == b"x"
    odd = {"n": np.int64(1), "f": np.float32(0.5), "a": np.array([1, 2]), "t": dt.datetime(2024, 1, 2)}  # noqa: DTZ001
    assert json.loads(Output().add_as_json(odd).body()) == {"n": 1, "f": 0.5, "a": [1, 2], "t": "2024-01-02 00:00:00"}
    with pytest.raises(ValueError, match="Out of range"):
        Output().add_as_json(float("nan"))
    with pytest.raises(TypeError, match="object is not JSON"):
        Output().add_as_json(object())
    assert Output().add("first").add("named", "data").body() == b"named"
    with pytest.raises(ValueError, match="one request here"):
        Output().add("x", batch_index=1)
    assert Output().add("x", key="data", batch_index=0).body() == b"x"


def test_an_output_can_be_chained_and_printed():
    output = Output().set_code(201).set_message("made").add_property("a", "b").add("x")
    assert (output.code, output.get_property("A"), output.get_properties()) == (201, "b", {"a": "b"})
    assert "201" in str(output)
    assert "data: 1 bytes" in str(request(b"1"))


def test_the_methods_for_lmis_sockets_raise_an_error():
    with pytest.raises(RuntimeError, match="over HTTP"):
        Input().read(None)
    with pytest.raises(RuntimeError, match="return the Output"):
        Output().send(None)
    message = bytearray()
    Output.write_utf8(message, "ab")
    Output.write_utf8(message, None)
    assert bytes(message) == b"\x00\x02ab\xff\xff"


def test_finalize_runs_once():
    done = []
    output = Output().finalize(done.append, 1)
    output.execute_finalize()
    output.execute_finalize()
    assert done == [1]


@pytest.mark.parametrize(
    ("kind", "body", "decoded"),
    [
        (None, b"", {"inputs": ""}),
        (None, b'{"a":1}', {"a": 1}),
        ("application/json; charset=utf-8", b"[1]", [1]),
        ("text/csv", b"inputs\nx\ny\n", {"inputs": ["x", "y"]}),
        ("text/csv", b"question,context\nq,c\n", {"inputs": [{"question": "q", "context": "c"}]}),
        ("text/plain", b"hi", {"inputs": ["hi"]}),
        ("audio/wav", b"RIFF", {"inputs": b"RIFF"}),
        ("application/x-www-form-urlencoded", b"a=b", {"inputs": "a=b"}),
        ("application/octet-stream", b"\0", {"inputs": b"\0"}),
    ],
)
def test_content_is_decoded_by_its_type(kind, body, decoded):
    assert decode(request(body), kind) == decoded


def test_csv_without_a_known_header_is_an_error_or_numbers():
    with pytest.raises(ValueError, match="question, context or inputs"):
        decode(request(b"a,b\n1,2"), "text/csv")
    assert decode(request(b"1,2\n3,4"), "text/csv", require_csv_headers=False).tolist() == [[1, 2], [3, 4]]
    with pytest.raises(ValueError, match="not a number"):
        decode(request(b"1,x"), "text/csv", require_csv_headers=False)


def test_predictions_are_encoded_in_the_accepted_type():
    for accept, kind, body in (
        ("application/json", "application/json", b'[\n  {\n    "a":1\n  }\n]'),
        ("text/csv", "text/csv", b"a\r\n1\r\n"),
        (None, "application/json", b'[\n  {\n    "a":1\n  }\n]'),
    ):
        output = encode(Output(), [{"a": 1}], accept)
        assert (output.get_property("content-type"), output.body()) == (kind, body)
    assert encode(Output(), np.array([[1, 2]]), "text/csv").body() == b"1,2\n"
    arrays = encode(Output(), [np.array([1.5])], "tensor/npz").body()
    assert np.load(io.BytesIO(arrays))["arr_0"].tolist() == [1.5]
    assert request(encode(Output(), [np.array([2])], "tensor/ndlist").body()).get_as_numpy()[0].tolist() == [2]


def test_outputs_of_async_handlers_have_their_fields():
    frame = create_non_stream_output({"a": "ü"}, properties={"x": "y"}, code=200).body()
    assert isinstance(frame, Frame)
    assert frame.fields == {"data": '{"a": "ü"}\n', "last": True, "code": 200}
    chunk = create_stream_chunk_output("t", False)
    assert chunk.get_property("Content-Type") == "application/jsonlines"
    assert chunk.body().fields == {"data": "t\n", "last": False}


def test_a_response_is_streamed_through_a_formatter():
    async def numbers():
        for number in range(5):
            yield number

    async def collected(formatter, **arguments):
        stream = handle_streaming_response(numbers(), formatter, **arguments)
        return [output.body().fields async for output in stream]

    plain = asyncio.run(collected(lambda n, **_: (str(n), n == 1)))
    assert [(f["data"], f["last"]) for f in plain] == [("0\n", False), ("1\n", True)]
    summed = asyncio.run(
        collected(lambda n, history, **_: (str(sum([*history, n])), n == 2, [*history, n]), accumulate_chunks=True)
    )
    assert [f["data"] for f in summed] == ["0\n", "1\n", "3\n"]
    broken = asyncio.run(collected(lambda n: 1 / n))
    assert broken == [{"data": "\n", "last": True, "error": "The formatter of the stream failed.", "code": 424}]


def test_decorators_set_an_attribute_and_return_the_same_function():
    for decorator, mark in (
        (input_formatter, "is_input_formatter"),
        (output_formatter, "is_output_formatter"),
        (prediction_handler, "is_prediction_handler"),
        (init_handler, "is_init_handler"),
    ):
        assert getattr(decorator(lambda x: x), mark) is True
        assert decorator(Kept.method) is Kept.method


def test_the_types_of_the_rolling_batch_are_data():
    output = TextGenerationOutput(request_id=1, input=TextInput(input_text="hi", parameters={"n": 1}))
    output.sequences[output.best_sequence_index].tokens.append(Token(1, "a", -0.5))
    assert output.sequences == {0: Sequence(tokens=[Token(id=1, text="a", log_prob=-0.5)])}
    assert (output.input.input_text, output.input.parameters, output.finished) == ("hi", {"n": 1}, False)
    assert isinstance(output.input, RequestInput)


def test_another_file_is_loaded_as_a_service_and_only_once(tmp_path):
    (tmp_path / "second_service.py").write_text(
        "times = []\ntimes.append(1)\ndef handle(i): return (i.properties, times)\n"
    )
    service = load_model_service(str(tmp_path), "second_service.py", -1)
    again = load_model_service(str(tmp_path), "second_service.py", "0")
    properties, times = again.invoke_handler("handle", Input())
    assert (properties["model_dir"], times, service.module) == (str(tmp_path), [1], again.module)
    assert has_function_in_module(service.module, "handle")
    assert not has_function_in_module(service.module, "times")
    assert load_model_service(str(tmp_path), "json", -1).module is json
    with pytest.raises(ValueError, match="no file"):
        load_model_service(str(tmp_path), "third.py")
    del sys.modules["second_service"]


def test_dtypes_have_lmis_names():
    assert get_torch_dtype_from_str("auto") == "auto"
    with pytest.raises(ValueError, match="bf16"):
        get_torch_dtype_from_str("fp8")
    with pytest.raises(ValueError, match="Accelerate"):
        StreamingUtils.get_stream_generator("transformers-neuronx")
