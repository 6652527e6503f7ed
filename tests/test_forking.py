"""The fork server with something light in place of vLLM; tests/test_engine.py has it with vLLM."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from handler.engines.vllm.forking import EngineContext, fork_server, has_fork_server
from handler.errors import StartError
from tests import light_preloading
from tests.serving import wait_for

LIGHT = light_preloading.__name__
ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.setenv("LD_PRELOAD", "")  # a server may set it; this brings it back


def result_of(work, *arguments):
    context = EngineContext()
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(writer, *arguments))
    process.start()
    writer.close()
    answer = reader.recv()
    process.join()
    return answer


def test_a_process_is_a_fork_of_the_one_that_imported():
    with fork_server(os.environ, LIGHT):
        assert result_of(light_preloading.facts)["preloaded_by"] not in (None, os.getpid())


def test_a_process_of_a_process_is_a_fork_of_the_same_server():
    with fork_server(os.environ, LIGHT):
        direct, indirect = result_of(light_preloading.facts), result_of(light_preloading.nested)
    assert direct["preloaded_by"] == indirect["preloaded_by"] is not None


def test_a_fork_has_the_environment_of_the_moment(monkeypatch):
    monkeypatch.setenv("LUMI_TEST_GONE", "1")
    with fork_server(os.environ, LIGHT):
        monkeypatch.delenv("LUMI_TEST_GONE")
        monkeypatch.setenv("LUMI_TEST_NEW", "2")
        answer = result_of(light_preloading.facts, "LUMI_TEST_GONE", "LUMI_TEST_NEW")
    assert answer["preloaded_by"] is not None
    assert (answer["LUMI_TEST_GONE"], answer["LUMI_TEST_NEW"]) == (None, "2")


def test_a_fork_computes_with_the_threads_of_the_moment_and_starts_none(monkeypatch):
    monkeypatch.setenv("LUMI_TEST_TORCH", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with fork_server(os.environ, LIGHT):
        monkeypatch.setenv("OMP_NUM_THREADS", "8")  # as vLLM does for its workers on GPUs
        assert result_of(light_preloading.threads) == (1, 8)


def test_the_log_says_of_each_process_whether_it_is_forked(monkeypatch, caplog):
    caplog.set_level("INFO", "lumi")
    with fork_server(os.environ, LIGHT):
        result_of(light_preloading.facts)
        monkeypatch.setenv("OMP_PROC_BIND", "false")
        result_of(light_preloading.facts)
    found = [record.getMessage().split()[-1] for record in caplog.records if "the process" in record.getMessage()]
    assert found == ["forked", "spawned"]


@pytest.mark.parametrize("name", ["LD_PRELOAD", "OMP_PROC_BIND", "KMP_AFFINITY"])
def test_what_is_read_only_when_a_process_begins_is_spawned(monkeypatch, name):
    with fork_server(os.environ, LIGHT):
        monkeypatch.setenv(name, "false")
        answer = result_of(light_preloading.facts, name)
    assert answer == {"preloaded_by": None, name: "false"}


def test_a_wrapped_executable_is_spawned(monkeypatch):
    # As vLLM wraps it in numactl.
    with fork_server(os.environ, LIGHT):
        monkeypatch.setattr("multiprocessing.spawn._python_exe", os.fsencode(os.path.realpath(sys.executable)))
        assert result_of(light_preloading.facts)["preloaded_by"] is None


def test_where_the_import_does_not_survive_a_fork_processes_are_spawned(monkeypatch, caplog):
    monkeypatch.setenv("LUMI_TEST_OBSTACLE", "1")
    with fork_server(os.environ, LIGHT):
        assert result_of(light_preloading.facts)["preloaded_by"] is None
    assert "are spawned" in caplog.text


def test_without_a_directory_for_sockets_the_start_is_refused_with_the_cure(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with pytest.raises(StartError, match="mount a directory at /tmp"), fork_server(os.environ, LIGHT):
        pass


def test_the_end_of_the_server_takes_its_forks_along_and_nothing_begins_afterwards():
    with fork_server(os.environ, LIGHT):
        context = EngineContext()
        reader, writer = context.Pipe(duplex=False)
        process = context.Process(target=light_preloading.sleep, args=(writer,))
        process.start()
        child = psutil.Process(reader.recv())
    wait_for(lambda: not child.is_running())
    assert not has_fork_server()
    with pytest.raises(RuntimeError, match="being stopped"):
        context.Process(target=light_preloading.sleep, args=(writer,)).start()


def test_not_even_a_killed_parent_leaves_a_process_behind():
    program = (
        "import os, sys; from handler.engines.vllm.forking import *; from tests import light_preloading as light\n"
        "with fork_server(os.environ, light.__name__):\n"
        "    reader, writer = EngineContext().Pipe(duplex=False)\n"
        "    EngineContext().Process(target=light.sleep, args=(writer,)).start()\n"
        "    reader.recv(); print('up', flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout.readline() == "up\n"
        below = psutil.Process(parent.pid).children(recursive=True)
        assert len(below) >= 2
        parent.send_signal(signal.SIGKILL)
    wait_for(lambda: not any(process.is_running() for process in below))
