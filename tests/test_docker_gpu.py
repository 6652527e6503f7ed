"""The gpu image where there is no GPU. Building it takes minutes and 9 GB, so that only who has built it runs this."""

import pytest

from tests.containers import MODEL, ROOT, _docker, refused, require_docker

pytestmark = pytest.mark.docker

IMAGE = "lumi:gpu-cu130"


@pytest.fixture(scope="module", autouse=True)
def image():
    require_docker()
    if _docker("image", "inspect", IMAGE, check=False).returncode != 0:
        pytest.skip(f"there is no image {IMAGE}; ./build.sh image --device gpu makes it")


@pytest.mark.parametrize(
    ("run", "words"),
    [
        ((), "This build of Lumi needs an NVIDIA GPU, and this machine has none. Start the container with --gpus all"),
        (("-v", "/dev/null:/dev/nvidia0"), "This machine has a GPU, but not its driver's library, libcuda.so.1"),
    ],
)
def test_a_start_without_a_gpu_is_refused_in_words(run, words):
    code, log = refused(image=IMAGE, run=run)
    assert code == 1
    assert words in log
    assert "Traceback" not in log


def test_check_works_on_a_machine_without_a_gpu():
    told = _docker("run", "--rm", "-v", f"{MODEL}:/opt/ml/model:ro", "-e", "OPTION_DTYPE=bf16", IMAGE, "check").stdout
    assert "OPTION_DTYPE" in told
    assert "vLLM has not looked at what goes to it" in told
    assert "vllm serve /opt/ml/model" in told


def test_what_is_compiled_at_run_time_finds_its_compilers_and_headers():
    script = ROOT / "tests" / "gpu_kernels.py"
    mount = ["-v", f"{script}:/kernels.py:ro"]
    told = _docker("run", "--rm", *mount, IMAGE, "python", "/kernels.py", seconds=600).stdout
    done = [line.removeprefix("done: ") for line in told.splitlines() if line.startswith("done: ")]
    assert done == ["load_vllms_libraries", "compile_with_triton", "compile_with_flashinfer"]
