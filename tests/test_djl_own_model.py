import asyncio
import json
import threading

import pytest

from handler.djl.call import Call
from handler.errors import InvalidRequest, PredictTimeout, StartError, UserCodeFailed
from tests.user_code import json_call, own_model, read, results, write

ECHO = """
    from djl_python import Input, Output
    calls = []

    def handle(inputs: Input):
        calls.append(inputs.is_empty())
        if inputs.is_empty():
            return None
        return Output().add_as_json({"got": inputs.get_as_json(), "calls": calls})
"""


def test_a_handler_is_called_with_an_empty_input_first_and_then_per_request(tmp_path):
    write(tmp_path, ECHO)
    (code, headers, body), (_, _, again) = results(tmp_path, json_call(b'{"a": 1}'), json_call(b"[]"))
    assert (code, headers["content-type"]) == (200, "application/json")
    assert json.loads(body) == {"got": {"a": 1}, "calls": [True, False]}
    assert json.loads(again)["calls"] == [True, False, False]


def test_properties_are_the_options_and_the_headers_in_any_case(tmp_path):
    write(
        tmp_path,
        """
        from djl_python import Output
        def handle(inputs):
            if inputs.is_empty():
                assert inputs.get_properties()["my_option"] == "7"
                return None
            found = inputs.get_properties()
            return Output().add_as_json([
                found["model_dir"] == inputs.get_property("MODEL_DIR"), found.get("Content-Type"), found["my_option"],
                found.get("Accept"), "X-Thing" in found, inputs.get_property("tenant"), inputs.get_function_name(),
            ])
        """,
    )
    call = json_call(**{"accept": "text/csv", "x-thing": "1", "x-amzn-sagemaker-custom-attributes": "tenant=t1;b=2"})
    ((_, _, body),) = results(tmp_path, call, properties={"my_option": "7"})
    assert json.loads(body) == [True, "application/json", "7", "text/csv", True, "t1", "handle"]


def test_a_client_cannot_replace_an_option(tmp_path):
    write(
        tmp_path,
        """
        from djl_python import Output
        def handle(inputs):
            return Output().add_as_json([inputs.get_property("model_dir"), inputs.get_properties()["my_option"]])
        """,
    )
    forged = {"model_dir": "/etc", "x-amzn-sagemaker-custom-attributes": "My_Option=forged"}
    ((_, _, body),) = results(tmp_path, json_call(**forged), properties={"my_option": "7"})
    assert json.loads(body) == [str(tmp_path), "7"]


def test_none_is_204_and_code_and_properties_reach_the_client(tmp_path):
    write(
        tmp_path,
        """
        from djl_python import Output
        def handle(inputs):
            if inputs.is_empty() or inputs.get_as_json() is None:
                return None
            return Output(418, "teapot").add("short and stout").add_property("X-Pot", 7).add_property("Content-Type", "text/x")
        """,
    )
    nothing, teapot = results(tmp_path, json_call(b"null"), json_call())
    assert nothing == (204, {}, b"")
    assert teapot == (418, {"x-pot": "7", "content-type": "text/x"}, b"short and stout")


def test_properties_that_are_not_valid_headers_are_left_out_and_logged(tmp_path, caplog):
    write(
        tmp_path,
        r"""
        from djl_python import Output
        def handle(inputs):
            output = Output().add("x").add_property("bad name", "1").add_property("split", "a\r\nset-cookie: b=1")
            output.add_property(3, "x").add_property("n", 1.5).add_property("yes", True).add_property("umlaut", "\u4e00")
            return output.add_property("Content-Length", "9999").add_property("Transfer-Encoding", "chunked")
        """,
    )
    ((_, headers, _),) = results(tmp_path, json_call())
    assert headers == {"content-type": "text/plain; charset=utf-8", "n": "1.5", "yes": "true"}
    assert sum("is not a valid header" in record.message for record in caplog.records) >= 4


@pytest.mark.parametrize(
    "returned",
    [
        "{'a': 1}",
        "Output(code=99)",
        "Output(code='200')",
        "Output(code=True)",
        "object()",
        "Output().add(Output.binary_encode({'data': 'token', 'last': False}))",
    ],
)
def test_an_output_that_cannot_be_sent_is_an_error_and_the_log_gives_the_reason(tmp_path, caplog, returned):
    write(
        tmp_path,
        f"from djl_python import Output\ndef handle(inputs):\n    return None if inputs.is_empty() else {returned}",
    )
    with pytest.raises(UserCodeFailed, match=r"model\.py returned an output that cannot be sent"):
        results(tmp_path, json_call())
    assert "cannot be sent:" in caplog.text


@pytest.mark.parametrize(
    "raised", ["ValueError('secret')", "SystemExit(3)", "KeyboardInterrupt", "GeneratorExit", "StopIteration(1)"]
)
@pytest.mark.parametrize("define", ["def", "async def"])
def test_any_exception_of_user_code_fails_one_request(tmp_path, caplog, raised, define):
    write(
        tmp_path,
        f"""
        from djl_python import Output
        {define} handle(inputs):
            if not inputs.is_empty() and inputs.get_as_json():
                raise {raised}
            return Output().add("fine")
        """,
    )

    async def ask():
        async with own_model(tmp_path) as model:
            with pytest.raises(UserCodeFailed) as failed:
                await model.handle(json_call(b"[1]"))
            return str(failed.value), await read(await model.handle(json_call(b"[]")))

    message, after = asyncio.run(ask())
    assert "secret" not in message
    assert after[2] == b"fine"
    assert caplog.text.count("Traceback") >= 1
    assert sum("failed on request" in record.message for record in caplog.records) == 1


def test_an_error_that_a_handler_reports_has_the_fields_of_lmi(tmp_path):
    write(
        tmp_path,
        "from djl_python import Output\ndef handle(inputs):\n    return None if inputs.is_empty() else Output().error('no such thing')",
    )
    ((code, headers, body),) = results(tmp_path, json_call())
    assert (code, headers["content-type"]) == (424, "application/json")
    assert json.loads(body) == {"code": 424, "message": "invoke handler failure", "error": "no such thing"}


def test_an_async_handler_runs_concurrently_and_a_plain_one_sequentially(tmp_path):
    text = """
        import asyncio, threading, time
        from djl_python import Output
        running = most = 0
        {define} handle(inputs):
            global running, most
            if inputs.is_empty():
                return None
            running += 1
            most = max(most, running)
            {pause}
            running -= 1
            return Output().add_as_json([most, threading.current_thread() is threading.main_thread()])
    """

    async def most():
        async with own_model(tmp_path) as model:
            gathered = await asyncio.gather(*(model.handle(json_call()) for _ in range(4)))
            return [json.loads(result.body) for result in gathered]

    write(tmp_path, text.format(define="async def", pause="await asyncio.sleep(0.05)"))
    assert asyncio.run(most())[-1] == [4, False]
    write(tmp_path, text.format(define="def", pause="time.sleep(0.02)"))
    assert asyncio.run(most())[-1] == [1, False]


def test_a_handler_that_blocks_does_not_block_the_servers_loop(tmp_path):
    write(
        tmp_path,
        """
        import threading
        from djl_python import Output
        gate = threading.Event()
        def handle(inputs):
            if inputs.is_empty():
                return None
            return Output().add_as_json(gate.wait(5))
        """,
    )

    async def ask():
        async with own_model(tmp_path) as model:
            asked = asyncio.create_task(model.handle(json_call()))
            await asyncio.sleep(0)
            import model as module

            module.gate.set()  # this loop still turns, so the gate can be opened from it
            return (await asked).body

    assert asyncio.run(ask()) == b"true"


@pytest.mark.parametrize(
    ("define", "loop"),
    [("def", "while True: pass"), ("async def", "while True: pass"), ("async def", "await asyncio.sleep(1e9)")],
)
def test_an_endless_loop_times_out_and_the_next_request_succeeds(tmp_path, define, loop):
    write(
        tmp_path,
        f"""
        import asyncio
        from djl_python import Output
        {define} handle(inputs):
            if not inputs.is_empty() and inputs.get_as_json():
                {loop}
            return Output().add("fine")
        """,
    )

    async def ask():
        async with own_model(tmp_path, seconds=0.1, grace_seconds=0.05) as model:
            with pytest.raises(PredictTimeout, match="OPTION_PREDICT_TIMEOUT"):
                await model.handle(json_call(b"[1]"))
            return await read(await model.handle(json_call(b"[]")))

    assert asyncio.run(ask())[2] == b"fine"


STREAMS = {
    "a generator of outputs": """
        def handle(inputs):
            if not inputs.is_empty():
                for word in ("a", "b"):
                    yield Output().add(word + "\\n").add_property("X-Kind", "words")
    """,
    "an async generator": """
        async def handle(inputs):
            if inputs.is_empty():
                return
            for word in ("a", "b"):
                yield create_stream_chunk_output(word, word == "b")
            yield create_stream_chunk_output("after the last", True)
    """,
    "an async generator that is returned": """
        async def words():
            yield create_stream_chunk_output("a", False)
            yield create_stream_chunk_output("b", True)
        async def handle(inputs):
            return None if inputs.is_empty() else words()
    """,
    "stream content with a formatter": """
        def handle(inputs):
            return None if inputs.is_empty() else Output().add_stream_content(iter("ab"), lambda word: word + "\\n")
    """,
    "async stream content": """
        async def words():
            yield "a\\n"
            yield b"b\\n"
        async def handle(inputs):
            return None if inputs.is_empty() else Output().add_stream_content(words(), lambda word: word)
    """,
}


@pytest.mark.parametrize("kind", STREAMS)
def test_every_kind_of_stream_yields_chunks(tmp_path, kind):
    import textwrap

    head = "from djl_python import Output\nfrom djl_python.async_utils import create_stream_chunk_output\n"
    write(tmp_path, head + textwrap.dedent(STREAMS[kind]))

    async def ask():
        async with own_model(tmp_path) as model:
            result = await model.handle(json_call())
            assert result.status == 200
            return [chunk async for chunk in result.chunks]

    assert asyncio.run(ask()) == [b"a\n", b"b\n"]


def test_stream_content_is_lines_of_json_by_default(tmp_path):
    write(
        tmp_path,
        "from djl_python import Output\ndef handle(inputs):\n    return None if inputs.is_empty() else Output().add_stream_content([['x'], 2])",
    )
    ((_, headers, body),) = results(tmp_path, json_call())
    assert headers["content-type"] == "application/jsonlines"
    assert body == b'{"outputs": ["x"]}\n{"outputs": 2}\n'


def test_stream_content_without_a_formatter_is_sent_as_it_is(tmp_path):
    write(
        tmp_path,
        """
        from djl_python import Output
        def words():
            yield "t-0\\n"
            yield b"t-1"
            yield {"word": 2}
        def handle(inputs):
            return None if inputs.is_empty() else Output().add_stream_content(words(), None)
        """,
    )
    ((_, headers, body),) = results(tmp_path, json_call())
    assert headers["content-type"].startswith("text/plain")
    assert body == b't-0\nt-1{"word": 2}\n'


def test_an_error_in_the_first_chunk_sets_the_status_and_a_later_one_is_in_the_stream(tmp_path):
    write(
        tmp_path,
        """
        from djl_python import Output
        from djl_python.async_utils import create_stream_chunk_output, create_non_stream_output
        async def pieces(bad_at):
            for i in range(2):
                if i == bad_at:
                    yield create_stream_chunk_output("", True, error="broken", code=503)
                yield create_stream_chunk_output({"i": i}, False)
        async def handle(inputs):
            if inputs.is_empty():
                return None
            at = inputs.get_as_json()
            if at is None:
                return create_non_stream_output("", error="nothing to do", code=422, properties={"X-Why": "null"})
            return pieces(at)
        """,
    )
    first, later, whole_one = results(tmp_path, json_call(b"0"), json_call(b"1"), json_call(b"null"))
    assert first[0] == 503
    assert json.loads(first[2]) == {"error": "broken", "code": 503}
    assert later[0] == 200
    assert [json.loads(line) for line in later[2].splitlines()] == [{"i": 0}, {"error": "broken", "code": 503}]
    assert whole_one[0] == 422
    assert whole_one[1] == {"content-type": "application/json", "x-why": "null"}
    assert json.loads(whole_one[2]) == {"error": "nothing to do", "code": 422}


@pytest.mark.parametrize("define", ["def", "async def"])
def test_a_stream_whose_client_leaves_is_closed_and_then_finalized(tmp_path, define):
    write(
        tmp_path,
        f"""
        from djl_python import Output
        done = []
        {define} words():
            try:
                while True:
                    yield "word"
            finally:
                done.append("closed")
        def handle(inputs):
            if inputs.is_empty():
                return None
            if inputs.get_as_json():
                return Output().add_stream_content(words()).finalize(done.append, "finalized")
            return Output().add_as_json(done)
        """,
    )

    async def ask():
        async with own_model(tmp_path) as model:
            result = await model.handle(json_call(b"1"))
            assert await anext(result.chunks) == b'{"outputs": "word"}\n'
            await result.chunks.aclose()
            return json.loads((await model.handle(json_call(b"0"))).body)

    assert asyncio.run(ask()) == ["closed", "finalized"]


def test_a_stream_that_fails_raises_once_and_frees_the_handler(tmp_path):
    write(
        tmp_path,
        """
        from djl_python import Output
        def handle(inputs):
            if inputs.is_empty():
                return
            yield "one"
            raise RuntimeError("half way")
        """,
    )

    async def ask():
        async with own_model(tmp_path) as model:
            for _ in range(2):
                result = await model.handle(json_call())
                assert await anext(result.chunks) == b"one"
                with pytest.raises(UserCodeFailed, match="RuntimeError"):
                    await anext(result.chunks)

    asyncio.run(ask())


def test_an_async_handler_is_cancelled_with_its_request(tmp_path):
    write(
        tmp_path,
        """
        import asyncio
        from djl_python import Output
        seen = []
        async def handle(inputs):
            if inputs.is_empty():
                return None
            if inputs.get_as_json() is None:
                return Output().add_as_json(seen)
            seen.append("begun")
            try:
                await asyncio.sleep(1e9)
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise
        """,
    )

    async def ask():
        async with own_model(tmp_path) as model:
            asked = asyncio.create_task(model.handle(json_call()))
            while (await model.handle(json_call(b"null"))).body == b"[]":
                pass
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
            return json.loads((await model.handle(json_call(b"null"))).body)

    assert asyncio.run(ask()) == ["begun", "cancelled"]


def test_the_chunks_of_an_async_stream_share_a_task_as_timeouts_and_task_groups_need(tmp_path):
    write(
        tmp_path,
        """
        import asyncio
        async def handle(inputs):
            if inputs.is_empty():
                return
            async with asyncio.timeout(5), asyncio.TaskGroup():
                yield "a"
                yield "b"
        """,
    )
    ((_, _, body),) = results(tmp_path, json_call())
    assert body == b"ab"


def test_the_thread_ends_with_the_model(tmp_path):
    write(tmp_path, ECHO)
    results(tmp_path, json_call())
    assert not [thread for thread in threading.enumerate() if thread.name == "lumi-user-code"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise OSError('no weights')", "line 4, failed to load the model: OSError: no weights"),
        ("inputs.get_as_json()", "failed to load the model: ValueError: The request is empty; check is_empty"),
        ("return Output(507).add('out of memory')", "failed to load the model: out of memory"),
        ("raise SystemExit(1)", "failed to load the model: SystemExit: 1"),
    ],
)
def test_a_failed_load_ends_the_start_and_names_the_line(tmp_path, body, words):
    write(tmp_path, f"from djl_python import Output\n\ndef handle(inputs):\n    {body}\n")
    with pytest.raises(StartError) as error:
        results(tmp_path, json_call())
    assert words in str(error.value)
    assert str(tmp_path / "model.py") in str(error.value)


def test_form_fields_and_query_parameters_are_contents_by_name(tmp_path):
    write(
        tmp_path,
        """
        from djl_python import Output
        def handle(inputs):
            if inputs.is_empty():
                return None
            keys = inputs.get_content().get_keys()
            return Output().add_as_json({key: inputs.get_as_string(key) for key in keys})
        """,
    )
    form = b'--B\r\nContent-Disposition: form-data; name="question"\r\n\r\nwhat?\r\n--B\r\ncontent-disposition: form-data; name="file"; filename="x"\r\nContent-Type: image/png\r\n\r\n\r\n--\r\n\r\n--B--\r\n'
    headers = {"content-type": "multipart/form-data; boundary=B"}
    ((_, _, body),) = results(tmp_path, Call(form, headers, parameters=(("k", "v"),)))
    assert json.loads(body) == {"question": "what?", "file": "\r\n--\r\n", "k": "v"}
    for broken in (b"", b"--B\r\nno end", b"--C--", b"--B\r\nx: y\r\n\r\nz"):
        with pytest.raises(InvalidRequest, match=r"form"):
            results(tmp_path, Call(broken, headers))


def test_fifty_megabytes_are_sent_unchanged(tmp_path):
    write(
        tmp_path,
        "from djl_python import Output\ndef handle(inputs):\n    return None if inputs.is_empty() else Output().add(b'x' * 50_000_000)",
    )
    ((code, headers, body),) = results(tmp_path, json_call())
    assert (code, headers["content-type"], len(body)) == (200, "application/octet-stream", 50_000_000)
