import subprocess

import pytest

from container.start import driver as module
from container.start.driver import Driver, driver_faults, read_driver


def write(root, driver, compat=None):
    """A machine's files that say these versions."""
    (root / "proc/driver/nvidia").mkdir(parents=True)
    (root / "proc/driver/nvidia/version").write_text(
        f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {driver}  Sun May\nGCC version:  gcc version 12.3.0\n"
    )
    if compat:
        directory = root / "usr/local/cuda/compat"
        directory.mkdir(parents=True)
        (directory / f"libcuda.so.{compat}").touch()
        (directory / "libcuda.so.1").symlink_to(f"libcuda.so.{compat}")


@pytest.mark.parametrize(
    ("driver", "cuda"),
    [
        (Driver(580), 13),
        (Driver(595, compat=580), 13),
        (Driver(535, compat=580), 13),
        (Driver(550, compat=580), 13),
        (Driver(), 13),
        (Driver(100), 0),  # a CUDA that no table has is left to the driver
    ],
)
def test_a_driver_that_runs_the_engine_has_no_fault(driver, cuda):
    assert not list(driver_faults(driver, cuda))


@pytest.mark.parametrize(
    ("driver", "cuda", "words"),
    [
        (Driver(470), 13, "driver is 470, but CUDA 13 needs 580 or newer. On SageMaker"),
        (Driver(535), 13, "driver is 535, but CUDA 13 needs 580 or newer. On SageMaker"),
        (Driver(470), 12, "CUDA 12 needs 525 or newer"),
        (Driver(470, compat=580), 13, "needs 580 or newer, or 535 with the cuda-compat of this image"),
        (Driver(535, compat=550), 13, "CUDA 13 needs 580 or newer"),
        (Driver(535, compat=580, error=804), 13, "GPUs of data centres alone, which this is not (CUDA error 804)"),
        (Driver(535, compat=580, error=803), 13, "with cuda-compat (CUDA error 803)"),
    ],
)
def test_a_driver_that_cannot_is_named_with_what_to_pass_to_sagemaker(driver, cuda, words):
    (fault,) = driver_faults(driver, cuda)
    assert words in fault
    assert 'inference_ami_version="al2023-ami-sagemaker-inference-gpu-4-1"' in fault
    assert "update the host's driver" in fault


def test_a_gpu_without_its_drivers_library_names_the_toolkit():
    (fault,) = driver_faults(Driver(580, loads=False), 13)
    assert "libcuda.so.1" in fault
    assert "container toolkit" in fault


def test_versions_are_read_from_the_drivers_file_and_from_the_name_of_the_library(tmp_path):
    write(tmp_path, "535.183.01", "580.82.07")
    found = read_driver(tmp_path, gpus=0)
    assert (found.version, found.compat) == (535, 580)


def test_without_files_nothing_is_known(tmp_path):
    assert read_driver(tmp_path, gpus=0) == Driver()


@pytest.mark.parametrize(("driver", "error"), [("535.183.01", 804), ("580.95.05", 0)])
def test_cuda_is_started_where_cuda_compat_would_run_it(tmp_path, monkeypatch, driver, error):
    """A library in place of the driver's, which says that the GPU is none of a data centre."""
    stub = tmp_path / "libcuda.so.1"
    subprocess.run(
        ["cc", "-shared", "-o", stub, "-x", "c", "-"],
        input="int cuInit(unsigned f) { return 804; }",
        text=True,
        check=True,
    )
    monkeypatch.setattr(module, "_START_CUDA", module._START_CUDA.replace("libcuda.so.1", str(stub)))
    write(tmp_path, driver, "580.82.07")
    assert read_driver(tmp_path, gpus=1).error == error
