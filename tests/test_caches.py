import os
import shlex
import shutil
import sysconfig
import tempfile
from pathlib import Path

import pytest

from handler.engines.vllm.caches import cache_environment, processor_key
from handler.errors import OptionError
from tests.drawn import post, url
from tests.live import MODEL, start
from tests.serving import ask

X86 = "processor\t: 0\nmodel name\t: A\nflags\t\t: fpu sse2 avx2{more}\nbugs\t\t: some\n"


def test_everything_that_is_compiled_is_kept_in_one_directory(tmp_path):
    environ = cache_environment(str(tmp_path / "compiled"), {})
    directories = [Path(value) for name, value in environ.items() if name.endswith(("_ROOT", "_DIR", "_BASE", "_PATH"))]
    assert len(set(directories)) == 5
    assert all(directory.is_relative_to(tmp_path / "compiled") for directory in directories)
    assert not list((tmp_path / "compiled").iterdir())


def test_a_directory_that_is_not_writable_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match=r"OPTION_COMPILE_CACHE_DIR.*cannot be written"):
        cache_environment(str(tmp_path / "file" / "compiled"), {})


def test_a_truncated_library_is_removed(tmp_path, caplog):
    whole = next(Path(sysconfig.get_config_var("DESTSHARED")).glob("*.so")).read_bytes()
    kernels = Path(cache_environment(str(tmp_path), {})["TORCHINDUCTOR_CACHE_DIR"])
    kernels.mkdir(parents=True)
    contents = {"whole": whole, "half": whole[: len(whole) // 2], "empty": b"", "zeros": bytes(len(whole))}
    for name, content in contents.items():
        (kernels / f"{name}.so").write_bytes(content)
        os.utime(kernels / f"{name}.so", (0, 0))
    (kernels / "being_linked.so").write_bytes(whole[:100])
    cache_environment(str(tmp_path), {})
    assert {file.stem for file in kernels.iterdir()} == {"whole", "being_linked"}
    assert len(caplog.records) == 3


def test_processors_with_the_same_instructions_share_a_cache():
    other = X86.format(more="").replace(": A", ": B").replace("fpu sse2", "sse2 fpu")
    assert processor_key(X86.format(more=""), {}) == processor_key(other, {})


@pytest.mark.parametrize(
    ("cpuinfo", "environ"),
    [
        (X86.format(more=" avx512f"), {}),
        (X86.format(more=""), {"ATEN_CPU_CAPABILITY": "avx2"}),
        ("processor\t: 0\nFeatures\t: fp asimd sve\n", {}),
    ],
)
def test_processors_with_other_instructions_do_not_share_a_cache(cpuinfo, environ):
    assert processor_key(cpuinfo, environ) != processor_key(X86.format(more=""), {})


@pytest.mark.engine
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++ on a CPU")
def test_what_was_compiled_is_found_by_the_next_start(tmp_path, monkeypatch):
    for name in cache_environment(str(tmp_path / "compiled"), {}):
        monkeypatch.delenv(name, raising=False)  # PyTorch sets some of them in the process of the tests
    shutil.copytree(MODEL, tmp_path / "model", ignore=shutil.ignore_patterns("serving.properties"))
    first, second = Start(tmp_path, "first"), Start(tmp_path, "second")
    assert first.compiled
    assert second.compiled == []
    assert "Compiling model again" not in second.log
    assert second.files == first.files
    assert second.answer == first.answer


class Start:
    """One start in a container of its own, of which the directory of the option is left."""

    def __init__(self, directory, name):
        place, kept = directory / name, directory / "compiled"
        runs = _record_compiler(place)
        with tempfile.TemporaryDirectory() as temporary:  # sockets want a short name
            server = start(
                place,
                OPTION_MODEL_ID=str(directory / "model"),
                OPTION_COMPILE_CACHE_DIR=str(kept),
                OPTION_DTYPE="fp32",
                OPTION_MAX_MODEL_LEN="2048",
                VLLM_CPU_KVCACHE_SPACE="1",
                PATH=f"{place}:{os.environ['PATH']}",
                HOME=temporary,
                TMPDIR=temporary,
            )
            try:
                server.wait_until(200)
                self.answer = post(server, ask("What is it?", url("red", "circle"))).json()["choices"][0]["message"]
            finally:
                server.end()
        self.log = server.log()
        # Which compiler it is, and what its headers say, is asked at each start.
        self.compiled = [run for run in runs.read_text().splitlines() if " -shared " in run or " c++-header " in run]
        self.files = {file for file in kept.rglob("*") if file.is_file()}


def _record_compiler(directory):
    """Have a g++ in `directory` write down what it is told, in the file that is returned, before it does so."""
    directory.mkdir()
    compiler, runs = directory / "g++", directory / "runs"
    compiler.write_text(f'#!/bin/sh\necho " $* " >>{shlex.quote(str(runs))}\nexec {shutil.which("g++")} "$@"\n')
    compiler.chmod(0o755)
    return runs
