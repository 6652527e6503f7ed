import asyncio
import sys

import pytest

from handler.djl.entry_point import find
from handler.errors import StartError
from tests.user_code import executed, write

HANDLE = "def handle(inputs):\n    return None\n"
IMPORTS = "from djl_python.input_parser import *\nfrom djl_python.output_formatter import output_formatter\n"


def loaded(directory, **different):
    async def load():
        async with executed(directory, **different) as code:
            return code.module

    return asyncio.run(load())


def refusal(directory, **different):
    with pytest.raises(StartError) as refused:
        loaded(directory, **different)
    return str(refused.value)


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


def test_an_absolute_path_is_taken_as_it_stands(tmp_path):
    file = write(tmp_path, HANDLE, "elsewhere/x.py")
    assert find(str(file), [tmp_path / "model"]).file == file


def test_an_entry_point_of_lmis_own_means_that_vllm_serves(tmp_path):
    write(tmp_path, HANDLE)
    assert find("djl_python.lmi_vllm.vllm_async_service", [tmp_path]) is None
    assert find("djl_python.huggingface", [tmp_path]) is None


def test_an_address_and_a_name_without_a_file_are_refused_with_the_reason(tmp_path):
    with pytest.raises(ValueError, match="code is not fetched from the network"):
        find("https://example.org/model.py", [tmp_path])
    with pytest.raises(ValueError, match=f"names neither a Python file nor a module in {tmp_path}"):
        find("serve.py", [tmp_path])


# What is in it


def test_a_file_is_executed_once_with_its_directory_on_the_path(tmp_path):
    write(tmp_path, "VALUE = 7\n", "its_neighbour.py")
    write(
        tmp_path, "import its_neighbour, sys\nsys.executions = getattr(sys, 'executions', 0) + 1\n" + IMPORTS + HANDLE
    )
    try:
        assert loaded(tmp_path).module.its_neighbour.VALUE == 7
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
        ("from djl_python import SessionManager", "the server manages sessions"),
        ("handle = 3", "`handle` is int and not a function"),
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
def test_a_file_at_fault_refuses_the_start_with_its_line(tmp_path, text, words):
    file = write(tmp_path, text)
    told = refusal(tmp_path)
    assert words in told
    assert str(file) in told
    assert "Traceback" not in told


def test_a_fault_in_a_neighbour_is_told_with_the_line_of_its_import(tmp_path):
    write(tmp_path, "def broken(:", "bad_neighbour.py")
    write(tmp_path, "import os\nimport bad_neighbour\n")
    assert f"({tmp_path}/bad_neighbour.py:1) could not be loaded: SyntaxError" in refusal(tmp_path)


def test_the_option_handler_names_the_function(tmp_path):
    write(tmp_path, "def predict(inputs):\n    return None\n")
    assert loaded(tmp_path, handler="predict").handle.__name__ == "predict"
    assert "OPTION_HANDLER='serve' is not a function of" in refusal(tmp_path, handler="serve")


def test_a_file_of_formatters_leaves_the_model_to_vllm_and_a_handler_does_not(tmp_path):
    write(tmp_path, IMPORTS + "@input_formatter\ndef a(p): return p\n@init_handler\ndef c(d): pass\n")
    assert not loaded(tmp_path).owns_the_model
    write(tmp_path, IMPORTS + "@prediction_handler\ndef a(p, m): return p\n")
    assert loaded(tmp_path).owns_the_model
    write(tmp_path, "def model_fn(d): pass\ndef predict_fn(d, m, *, k=1): pass\n")
    assert set(loaded(tmp_path).functions) == {"model_fn", "predict_fn"}


def test_a_handler_beside_formatters_is_used_alone_and_decorators_before_functions(tmp_path, caplog):
    write(tmp_path, IMPORTS + HANDLE + "@output_formatter\ndef a(r): return r\n")
    assert loaded(tmp_path).handle is not None
    assert "has handle as well as @output_formatter, which is not used" in caplog.text
    write(tmp_path, IMPORTS + "def model_fn(d): pass\n@output_formatter\ndef a(r): return r\n")
    assert loaded(tmp_path).functions == {}
    assert "has the decorated functions as well as model_fn, which is not used" in caplog.text


def test_a_file_of_nothing_is_a_warning(tmp_path, caplog):
    write(tmp_path, "X = 1")
    assert not loaded(tmp_path).owns_the_model
    assert "vLLM serves the model without it" in caplog.text


def test_a_file_may_not_have_the_name_of_a_module_in_use(tmp_path):
    write(tmp_path, HANDLE, "json.py")

    async def load():
        from handler.djl import user_code

        await user_code.execute(find("json.py", [tmp_path]), handler="handle", install_requirements=False, seconds=1)

    with pytest.raises(StartError, match="a module that is in use, json; rename the file"):
        asyncio.run(load())


def test_it_says_what_it_found(tmp_path):
    write(tmp_path, IMPORTS + "@input_formatter\ndef a(p): return p\n@output_formatter\ndef b(p): return p\n")
    assert str(loaded(tmp_path)).endswith("model.py (@input_formatter, @output_formatter)")
