"""NVIDIA's driver on this machine -> why it does not run the CUDA that the engine is built for, with the cure."""

import ctypes
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# The least driver of each CUDA, and the least with its cuda-compat, which takes GPUs of data centres alone: NVIDIA, CUDA
# Compatibility (docs.nvidia.com/deploy/cuda-compatibility), minor version and forward compatibility, read on 2026-11-22.
DRIVERS = {12: 525, 13: 580}
COMPAT_DRIVERS = {12: 470, 13: 535}
NOT_SUPPORTED = 804  # cudaErrorCompatNotSupportedOnDevice
# InferenceAmiVersion of the SageMaker API, as botocore 1.44.5 describes it: driver 580.
SAGEMAKER_AMI = "al2023-ami-sagemaker-inference-gpu-4-1"
_STARTING_SECONDS = 60
_START_CUDA = "import ctypes; print(ctypes.CDLL('libcuda.so.1').cuInit(0))"


@dataclass(frozen=True, slots=True)
class Driver:
    """`version` is the driver's, `compat` that of the driver whose library cuda-compat brings: first numbers, None if unknown
    or absent. `loads` is whether CUDA finds a library; `error` is CUDA's where it starts with cuda-compat, 0 for none."""

    version: int | None = None
    compat: int | None = None
    loads: bool = True
    error: int = 0


def read_driver(root: Path, gpus: int) -> Driver:
    """The driver of this machine, or of the one whose files are in `root`."""
    version, compat = _version(root), _compat(root)
    uses_compat = gpus > 0 and version is not None and compat is not None and version < compat
    return Driver(version, compat, gpus == 0 or _loads("libcuda.so.1"), _start_cuda() if uses_compat else 0)


def driver_faults(driver: Driver, cuda: int) -> Iterator[str]:
    """What keeps a GPU here from running `cuda`."""
    if not driver.loads:
        yield (
            "This machine has a GPU, but not its driver's library, libcuda.so.1. Start the container with --gpus all (or "
            "runtime: nvidia), so that NVIDIA's container toolkit mounts it; NVIDIA_DRIVER_CAPABILITIES must contain compute."
        )
    minimum = DRIVERS.get(cuda)
    if minimum is None or driver.version is None or driver.version >= minimum:
        return
    cure = (
        f'On SageMaker deploy with inference_ami_version="{SAGEMAKER_AMI}" (InferenceAmiVersion of the endpoint '
        f"configuration); elsewhere update the host's driver."
    )
    if driver.compat is None or driver.compat < minimum:
        yield f"The NVIDIA driver is {driver.version}, but CUDA {cuda} needs {minimum} or newer. {cure}"
    elif driver.version < (least := COMPAT_DRIVERS[cuda]):
        yield (
            f"The NVIDIA driver is {driver.version}, but CUDA {cuda} needs {minimum} or newer, or {least} with the "
            f"cuda-compat of this image. {cure}"
        )
    elif driver.error == NOT_SUPPORTED:
        yield (
            f"The NVIDIA driver is {driver.version}, and cuda-compat, which runs CUDA {cuda} on it, takes GPUs of data centres "
            f"alone, which this is not (CUDA error {NOT_SUPPORTED}). CUDA {cuda} needs driver {minimum} or newer here. {cure}"
        )
    elif driver.error:
        yield (
            f"CUDA {cuda} does not start on the NVIDIA driver {driver.version} with cuda-compat (CUDA error {driver.error}); "
            f"with driver {minimum} or newer it needs none. {cure}"
        )


def _version(root: Path) -> int | None:
    try:
        text = (root / "proc/driver/nvidia/version").read_text()
    except OSError:
        return None
    found = re.search(r"\s(\d+)\.\d+(?:\.\d+)?\s", text)
    return int(found[1]) if found else None


def _compat(root: Path) -> int | None:
    """The library is a link to a name with the version: libcuda.so.580.82.07."""
    try:
        name = (root / "usr/local/cuda/compat/libcuda.so.1").readlink().name
    except OSError:
        return None
    found = re.fullmatch(r"libcuda\.so\.(\d+)\..*", name)
    return int(found[1]) if found else None


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)  # initialises nothing
    except OSError:
        return False
    return True


def _start_cuda() -> int:
    """CUDA's error when it starts, in a process of its own: this one is to be forked. 0 where that is not known."""
    try:
        outcome = subprocess.run(  # noqa: S603  # our own program
            [sys.executable, "-c", _START_CUDA], capture_output=True, text=True, check=False, timeout=_STARTING_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    text = outcome.stdout.strip()
    return int(text) if text.isdigit() else 0
