"""User code behind the real server: every response here was sent over a socket."""

import io
import json
import re
import socket
import textwrap
import threading
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from container.http.inference import Serving
from handler.djl.djl_python.ndlist import from_nd_list, to_nd_list
from handler.engines.fake import FakeEngine
from handler.errors import InvalidRequest, StartError
from tests.serving import answer, ask, fault, serving, wait_for
from tests.user_code import write


def coded(directory, text, engine=None, name="model.py", **different):
    """A server of the code; `seconds` bound each call of it."""
    write(directory, textwrap.dedent(text), name)
    seconds = different.pop("seconds", 10)
    lmi_errors = different.pop("lmi_errors", False)
    (directory / "config.json").write_text("{}")
    environ = {"HF_MODEL_ID": str(directory), "OPTION_PREDICT_TIMEOUT": str(seconds), **different.pop("environ", {})}
    front = Serving(request_bytes=1 << 24, predict_seconds=seconds, lmi_errors=lmi_errors)
    return serving(engine, environ=environ, serving=front, **different)


# A handler as LMI's documentation shows it: a service object, loaded by the first call.
TYPICAL = """
    import logging
    import os
    from djl_python import Input, Output
    from djl_python.encode_decode import decode

    class WordCounter:
        def __init__(self):
            self.initialized = False

        def initialize(self, properties: dict):
            self.model_dir = properties["model_dir"]
            self.degree = int(properties["tensor_parallel_degree"])
            self.least = int(properties.get("min_length", "1"))
            with open(os.path.join(self.model_dir, "stop.txt")) as file:
                self.stop = set(file.read().split())
            self.initialized = True

        def inference(self, inputs: Input) -> Output:
            try:
                data = decode(inputs, inputs.get_property("content-type"))
                texts = data["inputs"] if isinstance(data["inputs"], list) else [data["inputs"]]
                counts = [len([w for w in text.split() if w not in self.stop and len(w) >= self.least]) for text in texts]
                outputs = Output()
                outputs.add_property("Content-Type", "application/json")
                outputs.add_property("X-Degree", str(self.degree))
                outputs.add_as_json({"counts": counts})
            except Exception as e:
                logging.exception("inference failed")
                outputs = Output().error(str(e))
            return outputs

    _service = WordCounter()

    def handle(inputs: Input) -> Output:
        if not _service.initialized:
            _service.initialize(inputs.get_properties())
        if inputs.is_empty():
            return None
        return _service.inference(inputs)
"""


@pytest.mark.parametrize("path", ["/invocations", "/predictions/model", "/models/mine/invoke", "/v1/chat/completions"])
def test_a_handler_written_for_lmi_serves_every_route(tmp_path, path):
    write(tmp_path, "the a", "stop.txt")
    with coded(tmp_path, TYPICAL, environ={"OPTION_MIN_LENGTH": "2"}) as server:
        response = server.post({"inputs": ["the quick fox", "a b see"]}, path)
        assert response.status_code == 200
        assert response.json() == {"counts": [2, 1]}
        assert response.headers["content-type"] == "application/json"
        assert int(response.headers["x-degree"]) >= 1
        assert response.headers["x-request-id"]
        assert not server.engine.seen


def test_the_handlers_errors_and_content_types_reach_the_client(tmp_path):
    write(tmp_path, "the", "stop.txt")
    with coded(tmp_path, TYPICAL) as server:
        assert server.post({"no": "inputs"}).status_code == 424
        assert server.post({"no": "inputs"}).json()["error"] == "'inputs'"
        plain = server.client.post("/invocations", content=b"the fox", headers={"content-type": "text/plain"})
        assert plain.json() == {"counts": [1]}
        rows = server.client.post("/invocations", content=b"inputs\nx y\nz", headers={"content-type": "text/csv"})
        assert rows.json() == {"counts": [2, 1]}


def test_a_server_of_user_code_is_ready_once_it_has_loaded_and_needs_no_engine(tmp_path):
    class Absent(FakeEngine):
        async def start(self):
            raise AssertionError("vLLM must not be started")

    write(tmp_path, "the", "stop.txt")
    with coded(tmp_path, TYPICAL, Absent()) as server:
        assert server.client.get("/ping").json()["status"] == "ready"
        listed = server.client.get("/v1/models").json()["data"]
        assert [(model["id"], model["max_model_len"]) for model in listed] == [("mine", None)]
        tokens = server.post({"prompt": "hi"}, "/tokenize")
        assert (tokens.status_code, fault(tokens)["message"]) == (
            400,
            "The model's own code responds here; this route needs an engine. POST to /invocations.",
        )
        server.terminate()
        assert server.wait() == 0


def test_code_in_the_directory_code_runs_with_the_model_directory_above_it(tmp_path):
    write(tmp_path, "the", "stop.txt")
    with coded(tmp_path, TYPICAL, name="code/model.py") as server:
        assert server.post({"inputs": "the fox"}).json() == {"counts": [1]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def handle(:", "line 1, could not be loaded: SyntaxError"),
        ("def handle(inputs):\n    raise OSError('no weights')", "failed to load the model: OSError: no weights"),
    ],
)
def test_code_that_does_not_load_ends_the_start_and_names_the_line(tmp_path, text, words):
    with coded(tmp_path, text) as server:
        error = server.wait()
        assert isinstance(error, StartError)
        assert words in str(error)


EVERY_KIND = """
    from djl_python import Output
    def handle(inputs):
        if inputs.is_empty():
            return None
        kind = inputs.get_property("Content-Type")
        if kind == "tensor/ndlist":
            return Output().add_as_numpy([array * 2 for array in inputs.get_as_numpy()])
        if kind == "tensor/npz":
            return Output().add_as_npz([array * 2 for array in inputs.get_as_npz()])
        if kind == "application/x-npy":
            return Output().add_as_json({"sum": inputs.get_as_numpy().sum()})
        if kind.startswith("image/"):
            image = inputs.get_as_image()
            return Output().add_as_json([image.mode, *image.size])
        if kind == "text/csv":
            return Output().add_as_json(inputs.get_as_csv())
        if kind.startswith("multipart/"):
            return Output().add_as_json([inputs.get_as_string("question"), *inputs.get_as_image("image").size])
        return Output().add(bytes(inputs.get_as_bytes()[::-1]))
"""


@pytest.fixture
def every_kind(tmp_path):
    with coded(tmp_path, EVERY_KIND) as server:
        yield server


def to_bytes(save, *arrays):
    file = io.BytesIO()
    save(file, *arrays)
    return file.getvalue()


def test_arrays_are_read_and_written(every_kind):
    post, array = every_kind.client.post, np.array([[1.5, 2.0]], np.float32)
    npz = post("/invocations", content=to_bytes(np.savez, array, array), headers={"content-type": "tensor/npz"})
    assert npz.headers["content-type"] == "tensor/npz"
    assert np.load(io.BytesIO(npz.content))["arr_1"].tolist() == [[3.0, 4.0]]
    npy = post("/invocations", content=to_bytes(np.save, array), headers={"content-type": "application/x-npy"})
    assert npy.json() == {"sum": 3.5}
    sent = bytes(to_nd_list([array]))
    back = post("/invocations", content=sent, headers={"content-type": "tensor/ndlist"})
    assert (back.headers["content-type"], from_nd_list(back.content)[0].tolist()) == ("tensor/ndlist", [[3.0, 4.0]])


def test_images_forms_tables_and_bytes_reach_the_handler(every_kind):
    post = every_kind.client.post
    image = to_bytes(lambda file: Image.new("L", (4, 3)).save(file, "png"))
    assert post("/invocations", content=image, headers={"content-type": "image/png"}).json() == ["RGB", 4, 3]
    form = post("/invocations", data={"question": "what?"}, files={"image": ("a.png", image, "image/png")})
    assert form.json() == ["what?", 4, 3]
    table = post("/invocations", content=b"a,b\n1,2\n", headers={"content-type": "text/csv"})
    assert table.json() == [{"a": "1", "b": "2"}]
    assert post("/invocations", content=b"abc", headers={"content-type": "audio/wav"}).content == b"cba"


RAISING = """
    import sys
    from djl_python import Output
    def handle(inputs):
        if inputs.is_empty():
            return None
        what = inputs.get_as_json()
        if what == "exit":
            sys.exit("goodbye")
        if what == "raise":
            raise ValueError("private")
        if what == "memory":
            raise MemoryError("private")
        return Output().add("fine")
"""


@pytest.mark.parametrize("what", ["exit", "raise"])
def test_code_that_raises_is_a_500_without_a_traceback_and_the_server_lives(tmp_path, caplog, what):
    with coded(tmp_path, RAISING) as server:
        response = server.post(json.dumps(what).encode())
        assert response.status_code == 500
        assert fault(response)["code"] == "user_code_failed"
        assert "private" not in response.text
        assert "Traceback" not in response.text
        assert caplog.text.count("model.py failed on request") == 1
        assert server.post(b'"ok"').text == "fine"
        assert server.client.get("/ping").status_code == 200


def test_code_that_raises_is_a_424_with_lmis_statuses(tmp_path):
    with coded(tmp_path, RAISING, lmi_errors=True) as server:
        response = server.post(b'"raise"')
        assert response.status_code == 424
        assert response.json() == {"error": "model.py failed with ValueError; the log has the traceback.", "code": 424}
        assert server.post(b'"memory"').status_code == 507


def test_code_that_has_no_memory_is_a_507_as_in_lmi(tmp_path):
    with coded(tmp_path, RAISING) as server:
        response = server.post(b'"memory"')
        assert (response.status_code, fault(response)["code"]) == (507, "user_code_out_of_memory")
        assert "private" not in response.text


def test_an_endless_loop_is_a_504_and_does_not_block_ping(tmp_path):
    text = """
        from djl_python import Output
        def handle(inputs):
            while not inputs.is_empty() and inputs.get_as_json():
                pass
            return Output().add("fine")
    """
    with coded(tmp_path, text, seconds=0.5) as server:
        answers = []
        stuck = threading.Thread(target=lambda: answers.append(server.post(b"1")))
        stuck.start()
        assert server.client.get("/ping").status_code == 200
        stuck.join(10)
        assert (answers[0].status_code, fault(answers[0])["code"]) == (504, "predict_timeout")
        wait_for(lambda: server.post(b"0").text == "fine")


STREAMING = """
    from djl_python import Output
    closed = []
    def words(count):
        try:
            for number in range(count):
                yield {"word": number}
                if number == 2:
                    raise RuntimeError("private")
        finally:
            closed.append(count)
    def handle(inputs):
        if inputs.is_empty():
            return None
        count = inputs.get_as_json()
        if count == "closed":
            return Output().add_as_json(closed)
        return Output().add_property("X-Kind", "words").add_stream_content(words(count))
"""


def test_a_stream_is_chunked_and_ends(tmp_path):
    with coded(tmp_path, STREAMING) as server, server.client.stream("POST", "/invocations", json=2) as response:
        assert response.status_code == 200
        assert response.headers["transfer-encoding"] == "chunked"
        assert response.headers["content-type"] == "application/jsonlines"
        assert response.headers["x-kind"] == "words"
        assert list(response.iter_lines()) == ['{"outputs": {"word": 0}}', '{"outputs": {"word": 1}}']


def test_a_stream_that_fails_ends_with_the_error(tmp_path):
    with coded(tmp_path, STREAMING) as server:
        lines = server.post(b"9").text.splitlines()
        assert len(lines) == 4
        assert json.loads(lines[-1])["error"]["code"] == "user_code_failed"
        assert "private" not in lines[-1]
        assert server.post(b'"closed"').json() == [9]


def test_an_event_stream_that_fails_ends_with_an_error_event(tmp_path):
    text = """
        def handle(inputs):
            if not inputs.is_empty():
                from djl_python import Output
                yield Output().add("data: 1\\n\\n").add_property("Content-Type", "text/event-stream")
                raise RuntimeError
    """
    with coded(tmp_path, text) as server:
        response = server.post({})
        assert response.headers["content-type"] == "text/event-stream"
        first, second, end = response.text.split("\n\n")
        assert (first, end) == ("data: 1", "")
        assert json.loads(second.removeprefix("data: "))["error"]["code"] == "user_code_failed"


def test_a_client_that_leaves_a_stream_closes_its_generator(tmp_path):
    text = STREAMING.replace('raise RuntimeError("private")', "pass")
    with coded(tmp_path, text) as server:
        with server.client.stream("POST", "/invocations", json=10**9) as response:
            next(response.iter_lines())
        wait_for(lambda: server.post(b'"closed"').json() == [10**9])


def test_a_client_that_leaves_cancels_an_async_handler(tmp_path):
    text = """
        import asyncio
        from djl_python import Output
        seen = []
        async def handle(inputs):
            if inputs.is_empty():
                return None
            if inputs.get_as_json():
                return Output().add_as_json(seen)
            try:
                await asyncio.sleep(1e9)
            finally:
                seen.append("cancelled")
    """
    with coded(tmp_path, text) as server:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.url}/invocations", json=0, timeout=0.3)
        wait_for(lambda: server.post(b"1").json() == ["cancelled"])


def test_large_bodies_are_received_and_sent(tmp_path):
    text = """
        from djl_python import Output
        def handle(inputs):
            return None if inputs.is_empty() else Output().add(inputs.get_as_bytes() * 4)
    """
    with coded(tmp_path, text) as server:
        kind = {"content-type": "application/octet-stream"}
        response = server.client.post("/invocations", content=b"x" * 10_000_000, headers=kind)
        assert len(response.content) == 40_000_000
        assert server.client.post("/invocations", content=b"x" * 20_000_000, headers=kind).status_code == 413


def test_none_is_a_204_and_the_connection_stays_usable(tmp_path):
    with coded(tmp_path, "def handle(inputs):\n    return None\n") as server:
        for _ in range(2):
            response = server.post({})
            assert (response.status_code, response.content) == (204, b"")


def test_headers_of_user_code_cannot_split_the_response(tmp_path):
    text = r"""
        from djl_python import Output
        def handle(inputs):
            return Output().add("x").add_property("A", "1\r\nEvil: yes").add_property("Content-Length", "0")
    """
    with coded(tmp_path, text) as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as sock:
            sock.sendall(b"POST /invocations HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}")
            received = b"".join(iter(lambda: sock.recv(65536), b""))
        assert b"Evil" not in received
        assert b"content-length: 1\r\n" in received


def test_sagemakers_functions_serve(tmp_path):
    text = """
        def model_fn(model_dir):
            return 3
        def predict_fn(data, model):
            return data * model
    """
    with coded(tmp_path, text) as server:
        assert server.post([1, 2]).json() == [3, 6]
        assert server.client.post("/invocations", content=b"1", headers={"content-type": "image/x"}).status_code == 400


FORMATTERS = """
    from djl_python.input_parser import input_formatter
    from djl_python.output_formatter import output_formatter
    import json

    @input_formatter
    def read(decoded_payload: dict, tokenizer=None, **kwargs) -> dict:
        question = decoded_payload.pop("question")
        decoded_payload["messages"] = [{"role": "user", "content": question}]
        return decoded_payload

    @output_formatter
    def write(response):
        if isinstance(response, str):
            event = response.removeprefix("data: ").strip()
            return event if event == "[DONE]" else json.loads(event)["choices"][0]["delta"]["content"]
        return {"answer": response.choices[0].message.content}
"""


def test_formatters_convert_requests_and_responses(tmp_path):
    with coded(tmp_path, FORMATTERS) as server:
        response = server.post({"question": "who?"})
        assert response.json() == {"answer": "user: who?"}
        assert response.headers["content-type"] == "application/json"
        large = server.post({"question": "x" * 400_000}).json()
        assert large["answer"].endswith("xxx")


def test_formatters_convert_a_stream(tmp_path):
    with coded(tmp_path, FORMATTERS, FakeEngine(replies=("a", "b"))) as server:
        response = server.post({"question": "who?", "stream": True})
        assert response.text == "a\nb\n[DONE]\n"
        assert response.headers["content-type"] == "application/jsonlines"


def test_the_payload_of_a_formatter_is_validated(tmp_path):
    with coded(tmp_path, FORMATTERS) as server:
        response = server.post({"question": 7})
        assert (response.status_code, fault(response)["param"]) == (400, "messages[0].content")
        missing = server.post({})
        assert (missing.status_code, fault(missing)["code"]) == (500, "user_code_failed")
        assert "KeyError" in fault(missing)["message"]
        assert server.post(b"{").status_code == 400


SIGNING = """
    from djl_python.output_formatter import output_formatter
    import json

    @output_formatter
    def sign(response):
        if isinstance(response, str):
            event = response.removeprefix("data: ").strip()
            return None if event == "[DONE]" else {"signed": json.loads(event)}
        return {"signed": json.loads(response.model_dump_json()), "text": response.choices[0].text}
"""


def test_an_output_formatter_takes_vllms_completion_of_inputs(tmp_path):
    parameters = {"details": True, "max_new_tokens": 5, "return_full_text": True, "decoder_input_details": True}
    engine = FakeEngine()
    with coded(tmp_path, SIGNING, engine) as server:
        made = server.post({"inputs": "who", "parameters": parameters}).json()
        signed = made["signed"]
        assert (signed["object"], signed["model"], made["text"]) == ("text_completion", "fake", "whowho")
        assert signed["choices"][0]["logprobs"]["tokens"] == ["token_id:0", "token_id:3"]
        assert signed["choices"][0]["prompt_logprobs"] is not None
        assert engine.seen[0].parameters["max_tokens"] == 5
        both = server.post({"inputs": ["a", "b"]}).json()["signed"]["choices"]
        assert [(choice["index"], choice["text"]) for choice in both] == [(0, "a"), (1, "b")]


def test_an_output_formatter_takes_the_events_of_a_completion_of_inputs(tmp_path):
    engine = FakeEngine(replies=("aa", "b"))
    with coded(tmp_path, SIGNING, engine) as server:
        lines = server.post({"inputs": "who", "stream": True}).text.splitlines()
        first, second, usage = [json.loads(line)["signed"] for line in lines]
        assert [chunk["choices"][0]["text"] for chunk in (first, second)] == ["aa", "b"]
        assert first["choices"][0]["logprobs"]["tokens"] == ["token_id:2"]
        assert (second["usage"]["completion_tokens"], usage["choices"]) == (2, [])


def test_a_formatter_that_fails_does_not_end_the_start(tmp_path):
    failing = "from djl_python.output_formatter import output_formatter\n@output_formatter\ndef f(r):\n    raise RuntimeError\n"
    with coded(tmp_path, failing) as server:
        assert fault(server.post({"inputs": "a"}))["code"] == "user_code_failed"


def test_a_fault_of_the_engine_has_the_name_that_the_client_sent(tmp_path):
    engine = FakeEngine(error=InvalidRequest("it must be more", param="max_tokens"))
    with coded(tmp_path, SIGNING, engine) as server:
        for stream in (False, True):
            assert fault(server.post({"inputs": "a", "stream": stream}))["param"] == "parameters.max_new_tokens"


def test_a_client_that_leaves_a_formatted_stream_aborts_the_request(tmp_path):
    engine = FakeEngine(replies=("a", "b"), hold_after=1)
    with coded(tmp_path, FORMATTERS, engine) as server:
        with server.client.stream("POST", "/invocations", json={"question": "hi", "stream": True}) as response:
            assert next(response.iter_lines()) == "a"
        wait_for(lambda: engine.aborted)


def documented_example(number):
    text = (Path(__file__).parent.parent / "docs" / "user-code.md").read_text()
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)[number]


@pytest.mark.parametrize(
    ("number", "body", "answered"),
    [
        (0, {"inputs": [1, 2]}, {"outputs": [2, 4]}),
        (1, {"question": "who?"}, {"answer": "user: who?"}),
        (2, {"inputs": [1, 2]}, [3, 6]),
    ],
)
def test_the_documented_examples_run(tmp_path, number, body, answered):
    with coded(tmp_path, documented_example(number)) as server:
        assert server.post(body).json() == answered


def test_the_documented_formatter_streams(tmp_path):
    with coded(tmp_path, documented_example(1), FakeEngine(replies=("a", "b"))) as server:
        assert server.post({"question": "who?", "stream": True}).text.split() == ["a", "b"]


def test_with_a_file_without_any_function_vllm_serves(tmp_path):
    with coded(tmp_path, "X = 1") as server:
        assert answer(server.post(ask("hi"))) == "user: hi"


def test_a_formatter_of_raw_requests_reads_bodies_that_the_server_cannot(tmp_path):
    text = """
        from djl_python import Input
        from djl_python.input_parser import input_formatter
        from djl_python.request_io import TextInput

        @input_formatter
        def read(inputs: Input, **kwargs):
            asked = TextInput()
            asked.input_text = inputs.get_as_bytes().decode("utf-16")
            asked.parameters = {"max_tokens": 5}
            return asked
    """
    with coded(tmp_path, text) as server:
        for content_type in ("application/x-mine", "application/octet-stream", "application/json", "audio/wav"):
            response = server.post("hi".encode("utf-16"), **{"content-type": content_type})
            assert response.json() == {"generated_text": "hi"}


def test_the_adapter_of_a_request_applies_if_the_formatter_drops_it(tmp_path):
    text = """
        from djl_python.input_parser import input_formatter

        @input_formatter
        def read(decoded_payload: dict, **kwargs) -> dict:
            return {"prompt": decoded_payload["question"]}
    """
    with coded(tmp_path, text) as server:
        assert server.post({"question": "hi"}).status_code == 200
        response = server.post({"question": "hi", "adapters": "none-such"})
        assert fault(response)["code"] == "adapter_not_found"


VLLM_SERVICE = {"OPTION_ENTRYPOINT": "djl_python.lmi_vllm.vllm_async_service"}

# Guards and filters beside LMI's vLLM service, as its documentation of custom handlers and formatters has them.
GUARD = """
    from djl_python import Input, Output
    from djl_python.async_utils import create_non_stream_output, create_stream_chunk_output
    from djl_python.encode_decode import decode
    from djl_python.output_formatter import output_formatter

    async def handle(inputs: Input):
        raw = inputs.get_batches()[0]
        payload = decode(raw, raw.get_property("Content-Type"))  # fails on the empty Input of the start, as in LMI
        text = str(payload)
        if "bomb" in text:
            return create_non_stream_output({"blocked": True})
        if "raise" in text:
            raise ValueError("confidential")
        if "count" in text:
            return count()
        return None

    async def count():
        for number in range(2):
            yield create_stream_chunk_output({"n": number}, last_chunk=number == 1)

    @output_formatter
    def write(response):
        return {"answer": response.choices[0].message.content.replace("secret", "***")}
"""


def test_beside_lmis_vllm_service_a_handler_comes_before_vllm_and_formatters_after_it(tmp_path):
    with coded(tmp_path, GUARD, environ=VLLM_SERVICE) as server:
        assert server.post(ask("a secret")).json() == {"answer": "user: a ***"}
        assert len(server.engine.seen) == 1
        for path in ("/invocations", "/v1/chat/completions", "/predictions/model"):
            assert server.post(ask("a bomb"), path).json() == {"blocked": True}
        batch = server.post({"messages": [ask("a bomb")["messages"]]}, "/v1/chat/completions/batch")
        assert "takes one chat at a time" in fault(batch)["message"]
        assert server.post({"not": "a payload: bomb"}).json() == {"blocked": True}
        streamed = server.post(ask("count"))
        assert streamed.headers["content-type"] == "application/jsonlines"
        assert streamed.text == '{"n": 0}\n{"n": 1}\n'
        assert len(server.engine.seen) == 1


def test_a_handler_beside_lmis_vllm_service_that_fails_lets_no_request_through(tmp_path):
    with coded(tmp_path, GUARD, environ=VLLM_SERVICE) as server:
        response = server.post(ask("raise"))
        assert response.status_code == 500
        assert "confidential" not in response.text
        assert not server.engine.seen


def test_a_body_of_several_requests_does_not_pass_a_handler_that_reads_one(tmp_path):
    with coded(tmp_path, "async def handle(inputs):\n    return None\n", environ=VLLM_SERVICE) as server:
        lines = b'{"inputs": "hi"}\n{"inputs": "ho"}\n'
        response = server.client.post("/invocations", content=lines, headers={"content-type": "application/jsonlines"})
        assert (response.status_code, "takes one request at a time" in fault(response)["message"]) == (400, True)
        assert answer(server.post(ask("hi"))) == "user: hi"


def test_a_plain_handler_beside_lmis_vllm_service_may_leave_requests_to_vllm(tmp_path):
    text = """
        from djl_python import Output

        calls = []

        def handle(inputs):
            calls.append(inputs.is_empty())
            if inputs.is_empty() or "calls" not in str(inputs.get_as_json()):
                return None
            return Output().add_as_json(calls)
    """
    with coded(tmp_path, text, environ=VLLM_SERVICE) as server:
        assert answer(server.post(ask("hi"))) == "user: hi"
        assert server.post(ask("calls")).json() == [True, False, False]


def test_beside_another_service_of_lmi_the_handler_is_not_called(tmp_path):
    with coded(tmp_path, GUARD, environ={"OPTION_ENTRYPOINT": "djl_python.huggingface"}) as server:
        assert server.post(ask("a bomb, a secret")).json() == {"answer": "user: a bomb, a ***"}


def test_with_a_rolling_batch_that_is_named_an_input_formatter_gets_the_raw_request(tmp_path):
    text = """
        from djl_python.encode_decode import decode
        from djl_python.input_parser import input_formatter
        from djl_python.request_io import TextInput

        @input_formatter
        def read(input_item, **kwargs):
            payload = decode(input_item, input_item.get_property("Content-Type"))
            made = TextInput()
            made.input_text, made.parameters = payload.pop("prompt"), payload.pop("parameters", {})
            return made
    """
    with coded(tmp_path, text, environ={"OPTION_ROLLING_BATCH": "vllm"}) as server:
        assert server.post({"prompt": "hi"}).json() == {"generated_text": "hi"}
