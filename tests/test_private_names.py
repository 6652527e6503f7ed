"""The installed Python, vLLM and PyTorch have the private names that the fork server uses, and use them as it assumes."""

import inspect
import multiprocessing.forkserver

import pytest

from handler.engines.vllm.private_names import PrivateName, replace_names

PYTHON = [name for name in PrivateName if name.module.split(".")[0] in ("multiprocessing", "subprocess")]
OTHERS = [name for name in PrivateName if name not in PYTHON]


@pytest.mark.parametrize("name", PYTHON)
def test_python_has_the_name(name):
    name.get()


@pytest.mark.engine
@pytest.mark.filterwarnings("default")  # vLLM's own
@pytest.mark.parametrize("name", OTHERS)
def test_vllm_and_pytorch_have_the_name(name):
    name.get()


def test_every_name_has_its_reasons():
    assert all(name.why and name.without for name in PrivateName)


def test_a_replaced_name_is_restored():
    before = PrivateName.SERVER_ADDRESS.get()
    with replace_names({PrivateName.SERVER_ADDRESS: "ours", PrivateName.ENSURE_RUNNING: before}):
        assert PrivateName.SERVER_ADDRESS.get() == "ours"
        assert PrivateName.ENSURE_RUNNING.get() is before
    assert PrivateName.SERVER_ADDRESS.get() is before
    assert callable(PrivateName.ENSURE_RUNNING.get())


def test_python_starts_processes_by_the_names_that_are_replaced():
    connect = inspect.getsource(multiprocessing.forkserver.ForkServer.connect_to_new_process)
    for name in (PrivateName.SERVER_ADDRESS, PrivateName.SERVER_ALIVE_FD, PrivateName.ENSURE_RUNNING):
        assert f"self.{name.path.split('.')[-1]}" in connect


@pytest.mark.engine
@pytest.mark.filterwarnings("default")
def test_vllm_and_pytorch_call_the_names_that_are_replaced():
    from torch._inductor import codecache
    from vllm.model_executor.models import registry
    from vllm.v1.engine import coordinator, utils
    from vllm.v1.executor import multiproc_executor

    for module in (coordinator, utils, multiproc_executor):
        assert "context = get_mp_context()\n" in inspect.getsource(module)
    assert "_run_in_subprocess(" in inspect.getsource(registry._LazyRegisteredModel.inspect_model_cls)
    assert "_worker_compile_cpp(\n        os.path.join(_HEADER_LOCK_DIR, " in inspect.getsource(
        codecache._precompile_header
    )
