import asyncio
import sys

import pytest

from handler.djl.entry_point import find
from handler.errors import StartError
from tests.user_code import execute_code, write

HANDLE = "def handle(inputs):\n    return None\n"
ROLLING_BATCH = """\
from djl_python import Output
def handle(inputs):
    outputs = Output()
    for i, request in enumerate(inputs.get_batches()):
        token = {"data": "next", "last": False}
        frame = Output.binary_encode(token)
        outputs.add(frame, batch_index=i)
    return outputs
"""
IMPORTS = "from djl_python.input_parser import *\nfrom djl_python.output_formatter import output_formatter\n"


def load_module(directory, **different):
    async def run():
        async with execute_code(directory, **different) as code:
            return code.module

    return asyncio.run(run())


def start_error(directory, **different):
    with pytest.raises(StartError) as error:
        load_module(directory, **different)
    return str(error.value)


# Where the file is


def test_model_py_is_found_in_the_model_directory_or_in_its_code(tmp_path):
    assert find(None, [tmp_path]) is None
    inner = write(tmp_path, HANDLE, "code/model.py")
    entry = find(None, [tmp_path / "nowhere", tmp_path])
    assert (entry.file, entry.name, entry.directory) == (inner, "model", tmp_path)
    outer = write(tmp_path, HANDLE)
    assert find(None, [tmp_path]).file == outer


@pytest.mark.parametrize(
    ("named", "file"),
    [
        ("serve.py", "serve.py"),
        ("serve", "serve.py"),
        ("serve.py", "code/serve.py"),
        ("app.serve", "app/serve.py"),
        ("app", "app/__init__.py"),
        ("app/serve.py", "app/serve.py"),
    ],
)
def test_a_named_entry_point_is_a_file_or_a_module_of_the_model_directory(tmp_path, named, file):
    assert find(named, [tmp_path / "other", tmp_path] if write(tmp_path, HANDLE, file) else []).file == tmp_path / file


def test_an_absolute_path_needs_no_directory(tmp_path):
    file = write(tmp_path, HANDLE, "elsewhere/x.py")
    assert find(str(file), [tmp_path / "model"]).file == file


VLLM_SERVICE = "djl_python.lmi_vllm.vllm_async_service"


@pytest.mark.parametrize("service", [VLLM_SERVICE, "djl_python.huggingface"])
def test_a_service_of_lmi_itself_runs_the_model_py_beside_it(tmp_path, service):
    assert find(service, [tmp_path]) is None
    file = write(tmp_path, HANDLE)
    entry = find(service, [tmp_path])
    assert (entry.file, entry.service) == (file, service)


def test_a_url_and_a_name_without_a_file_are_errors(tmp_path):
    with pytest.raises(ValueError, match="code is not fetched from the network"):
        find("https://example.org/model.py", [tmp_path])
    with pytest.raises(ValueError, match=f"names neither a Python file nor a module in {tmp_path}"):
        find("serve.py", [tmp_path])


# What is in it


def test_beside_the_service_of_vllm_a_handler_does_not_own_the_model(tmp_path):
    write(tmp_path, IMPORTS + HANDLE + "@output_formatter\ndef o(r):\n    return r\n")
    module = load_module(tmp_path, name=VLLM_SERVICE, handler="inference")
    assert not module.owns_the_model
    assert module.handle.__name__ == "handle"
    assert module.output_formatter.__name__ == "o"


def test_beside_another_service_of_lmi_only_formatters_are_called(tmp_path, caplog):
    write(tmp_path, IMPORTS + HANDLE + "@input_formatter\ndef i(p):\n    return p\n")
    module = load_module(tmp_path, name="djl_python.huggingface")
    assert module.handle is None
    assert module.input_formatter.__name__ == "i"
    assert "has handle, which OPTION_ENTRY_POINT=djl_python.huggingface does not call" in caplog.text


def test_beside_a_service_of_lmi_what_it_does_not_call_is_logged_or_refused(tmp_path, caplog):
    write(tmp_path, "def model_fn(d): ...\ndef predict_fn(d, m): ...\n")
    assert not load_module(tmp_path, name=VLLM_SERVICE).owns_the_model
    assert "model_fn, predict_fn, which OPTION_ENTRY_POINT" in caplog.text
    write(tmp_path, "def input_fn(body, kind): ...\n")
    assert "Remove OPTION_ENTRY_POINT to serve with them" in start_error(tmp_path, name=VLLM_SERVICE)


def test_a_file_is_executed_once_with_its_directory_on_the_path(tmp_path):
    write(tmp_path, "VALUE = 7\n", "its_neighbour.py")
    write(
        tmp_path, "import its_neighbour, sys\nsys.executions = getattr(sys, 'executions', 0) + 1\n" + IMPORTS + HANDLE
    )
    try:
        assert load_module(tmp_path).module.its_neighbour.VALUE == 7
        assert sys.executions == 1
        assert str(tmp_path) not in sys.path
    finally:
        del sys.executions, sys.modules["its_neighbour"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\ndef handle(:\n", "line 2, could not be loaded: SyntaxError"),
        (
            "\n\nimport no_such_package\n",
            "line 3, could not be loaded: ModuleNotFoundError: No module named 'no_such_package'",
        ),
        ("raise SystemExit(3)", "line 1, could not be loaded: SystemExit: 3"),
        ("def handle(inputs):\n    pass\n1 / 0", "line 3, could not be loaded: ZeroDivisionError: division by zero"),
        ("from djl_python.async_utils import register_adapter", "the server registers adapters"),
        ("handle = 3", "`handle` is int and not a function"),
        (ROLLING_BATCH, "line 7: handle is written for LMI's rolling batch, which calls it for each token"),
        (
            IMPORTS
            + "@output_formatter\ndef o(token, first_token, last_token, details, generated_tokens, **kw): ...\n",
            "line 3: o is written for the rolling batch of older LMI images",
        ),
        (
            IMPORTS + "@input_formatter\ndef a(p): return p\n@input_formatter\ndef b(p): return p\n",
            "more than one function with @input_formatter: a (line 3) and b (line 5)",
        ),
        ("def model_fn(a, b): pass\n", "line 1: model_fn cannot be called as model_fn(model_dir): missing a required"),
        ("def model_fn(model_dir): pass\n", "has model_fn and no predict_fn, which has no default"),
        ("def input_fn(body, content_type): pass\n", "no model_fn and no predict_fn"),
        (
            IMPORTS
            + "from djl_python.output_formatter import TextGenerationOutput\n"
            + "@output_formatter\ndef f(request_output: TextGenerationOutput): return ''\n",
            "f is written for the rolling batch of older LMI images",
        ),
    ],
)
def test_an_error_in_the_file_ends_the_start_and_names_the_line(tmp_path, text, words):
    file = write(tmp_path, text)
    message = start_error(tmp_path)
    assert words in message
    assert str(file) in message
    assert "Traceback" not in message


def test_a_syntax_error_in_an_imported_file_names_that_file_and_line(tmp_path):
    write(tmp_path, "def broken(:", "bad_neighbour.py")
    write(tmp_path, "import os\nimport bad_neighbour\n")
    assert f"({tmp_path}/bad_neighbour.py:1) could not be loaded: SyntaxError" in start_error(tmp_path)


def test_the_option_handler_names_the_function(tmp_path):
    write(tmp_path, "def predict(inputs):\n    return None\n")
    assert load_module(tmp_path, handler="predict").handle.__name__ == "predict"
    assert "OPTION_HANDLER='serve' is not a function of" in start_error(tmp_path, handler="serve")


def test_a_file_owns_the_model_unless_it_has_only_formatters(tmp_path):
    write(tmp_path, IMPORTS + "@input_formatter\ndef a(p): return p\n@init_handler\ndef c(d): pass\n")
    assert not load_module(tmp_path).owns_the_model
    write(tmp_path, IMPORTS + "@prediction_handler\ndef a(p, m): return p\n")
    assert load_module(tmp_path).owns_the_model
    write(tmp_path, "def model_fn(d): pass\ndef predict_fn(d, m, *, k=1): pass\n")
    assert set(load_module(tmp_path).functions) == {"model_fn", "predict_fn"}


def test_a_handler_precedes_decorated_functions_which_precede_sagemakers(tmp_path, caplog):
    write(tmp_path, IMPORTS + HANDLE + "@output_formatter\ndef a(r): return r\n")
    assert load_module(tmp_path).handle is not None
    assert "has handle as well as @output_formatter, which is not used" in caplog.text
    write(tmp_path, IMPORTS + "def model_fn(d): pass\n@output_formatter\ndef a(r): return r\n")
    assert load_module(tmp_path).functions == {}
    assert "has the decorated functions as well as model_fn, which is not used" in caplog.text


def test_a_file_without_any_function_is_a_warning(tmp_path, caplog):
    write(tmp_path, "X = 1")
    assert not load_module(tmp_path).owns_the_model
    assert "vLLM serves the model without it" in caplog.text


def test_a_file_may_not_have_the_name_of_a_module_in_use(tmp_path):
    write(tmp_path, HANDLE, "json.py")

    async def run():
        from handler.djl import user_code

        await user_code.execute(find("json.py", [tmp_path]), handler="handle", install_requirements=False, seconds=1)

    with pytest.raises(StartError, match="a module that is in use, json; rename the file"):
        asyncio.run(run())


def test_a_module_lists_its_functions_as_text(tmp_path):
    write(tmp_path, IMPORTS + "@input_formatter\ndef a(p): return p\n@output_formatter\ndef b(p): return p\n")
    assert str(load_module(tmp_path)).endswith("model.py (@input_formatter, @output_formatter)")
