"""Run in the gpu image, on a machine without a GPU: load what vLLM brings compiled, and compile what it compiles at run time.

A library that knows the names of the driver's functions stands in for the driver, which comes from the host.
"""

import importlib
import os
import re
import subprocess
import sysconfig
from pathlib import Path

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

ARCHITECTURE = 90  # Hopper
DRIVER = Path("/usr/lib") / f"{os.uname().machine}-linux-gnu" / "libcuda.so.1"
VERSIONS = ("", "_v2", "_v3", "_v4", "_ptsz", "_v2_ptsz")


def stand_in_for_the_driver():
    header = Path(os.environ["CUDA_HOME"], "include/cuda.h").read_text()
    names = {name + version for name in re.findall(r"\b(cu[A-Z]\w*)\s*\(", header) for version in VERSIONS}
    source = Path("/tmp/driver.c")
    source.write_text("\n".join(f"int {name}(void) {{ return 100; }}" for name in sorted(names)))
    subprocess.run(["gcc", "-shared", "-fPIC", f"-Wl,-soname,{DRIVER.name}", "-o", DRIVER, source], check=True)
    subprocess.run(["ldconfig"], check=True)  # as NVIDIA's container toolkit does


def load_vllms_libraries():
    import torch  # noqa: F401  # they are linked against it
    import vllm

    home = Path(vllm.__file__).parent
    for file in sorted(home.rglob("*.abi3.so")):
        importlib.import_module(".".join(["vllm", *file.relative_to(home).parts]).removesuffix(".abi3.so"))


@triton.jit
def increment(source, target, count, block: tl.constexpr):
    at = tl.program_id(0) * block + tl.arange(0, block)
    tl.store(target + at, tl.load(source + at, mask=at < count) + 1, mask=at < count)


def compile_with_triton():
    from triton.backends.nvidia.driver import CudaUtils

    signature = {"source": "*fp32", "target": "*fp32", "count": "i32", "block": "constexpr"}
    kernel = triton.compile(
        ASTSource(increment, signature=signature, constexprs={"block": 128}), target=GPUTarget("cuda", ARCHITECTURE, 32)
    )
    assert kernel.asm["cubin"].startswith(b"\x7fELF")
    assert callable(CudaUtils().launch), "its own driver is compiled, by gcc, and loaded"


def compile_with_flashinfer():
    os.environ["FLASHINFER_CUDA_ARCH_LIST"] = f"{ARCHITECTURE / 10}a"
    from flashinfer.jit import norm

    norm.gen_norm_module().build_and_load()


if __name__ == "__main__":
    assert sysconfig.get_paths()["purelib"].startswith("/opt/lumi/venv"), "this runs in the image"
    stand_in_for_the_driver()
    for step in (load_vllms_libraries, compile_with_triton, compile_with_flashinfer):
        step()
        print("done:", step.__name__, flush=True)  # noqa: T201  # the test reads it
