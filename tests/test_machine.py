import pytest

from container.start.machine import GIB, MIB, Machine, Needs, inspect, killed_for_memory, refuse
from handler.errors import StartError

GOOD = {"gpus": 2, "driver": 580, "memory": 64 * GIB, "shared_memory": GIB, "temporary": 100 * GIB}


def words(needs, **different):
    with pytest.raises(StartError) as refusal:
        refuse(Machine(**{**GOOD, **different}), needs)
    return str(refusal.value)


@pytest.mark.parametrize("needs", [Needs(cuda=13, processes=2), Needs(cuda=None, memory=10 * GIB)])
def test_a_machine_that_has_all_is_not_refused(needs):
    refuse(Machine(**GOOD), needs)


def test_what_nobody_says_is_not_held_against_the_machine():
    unknown = Machine(gpus=1, driver=None, memory=None, shared_memory=None, temporary=GIB)
    refuse(unknown, Needs(cuda=13, processes=2, memory=10 * GIB))


def test_without_a_gpu_the_gpu_build_names_the_flag_and_the_cpu_image():
    said = words(Needs(cuda=13), gpus=0, driver=None)
    assert "--gpus all" in said
    assert "cpu image" in said


def test_a_gpu_without_its_drivers_library_names_the_toolkit():
    said = words(Needs(cuda=13), driver_loads=False)
    assert "libcuda.so.1" in said
    assert "container toolkit" in said
    refuse(Machine(**{**GOOD, "driver_loads": False}), Needs(cuda=None))


def test_the_cpu_build_needs_no_gpu():
    refuse(Machine(**{**GOOD, "gpus": 0, "driver": None}), Needs(cuda=None))


@pytest.mark.parametrize(("cuda", "driver", "least"), [(13, 535, 580), (12, 470, 525)])
def test_a_driver_that_is_too_old_is_named_with_the_one_that_is_needed(cuda, driver, least):
    said = words(Needs(cuda=cuda), driver=driver)
    assert f"driver is {driver}" in said
    assert f"needs {least}" in said


def test_a_cuda_that_no_table_has_is_left_to_the_driver():
    refuse(Machine(**{**GOOD, "driver": 100}), Needs(cuda=0))


def test_memory_is_reckoned_before_a_byte_is_loaded():
    said = words(Needs(cuda=None, memory=15 * GIB), memory=16 * GIB)
    assert "15.0 GiB" in said
    assert "2.0 GiB" in said
    assert "16.0 GiB" in said


def test_on_a_gpu_the_weights_do_not_stay_in_memory():
    refuse(Machine(**{**GOOD, "memory": 8 * GIB}), Needs(cuda=13, memory=15 * GIB))


def test_one_process_needs_no_shared_memory_and_two_do():
    small = {"shared_memory": 64 * MIB}
    refuse(Machine(**{**GOOD, **small}), Needs(cuda=13))
    assert "--shm-size" in words(Needs(cuda=13, processes=2), **small)


def test_a_temporary_directory_must_be_there_and_have_room():
    assert "--tmpfs /tmp:exec" in words(Needs(cuda=None), temporary=None)
    assert "1 MiB free" in words(Needs(cuda=None), temporary=MIB)


def test_what_is_compiled_must_be_allowed_to_run():
    assert "--tmpfs /tmp:exec" in words(Needs(cuda=None, compiles=True), temporary_runs=False)
    refuse(Machine(**GOOD, temporary_runs=False), Needs(cuda=None))


def test_all_that_is_missing_is_said_at_once():
    said = words(Needs(cuda=13, processes=2), gpus=0, shared_memory=MIB, temporary=None)
    assert len(said.splitlines()) == 3


def write(root, path, text=""):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_a_machine_is_read_from_its_files(tmp_path):
    for path in ("dev/nvidia0", "dev/nvidia1", "dev/nvidiactl", "dev/nvidia-uvm"):
        write(tmp_path, path)
    write(
        tmp_path,
        "proc/driver/nvidia/version",
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (dvs-builder)\n"
        "GCC version:  gcc version 12.3.0 (Ubuntu)\n",
    )
    write(tmp_path, "proc/meminfo", "MemTotal: 33554432 kB\nMemAvailable:   16777216 kB\n")
    (tmp_path / "tmp").mkdir()
    machine = inspect(tmp_path)
    assert (machine.gpus, machine.driver, machine.memory) == (2, 580, 16 * GIB)
    assert machine.temporary > 0
    assert machine.shared_memory is None


@pytest.mark.parametrize(
    ("path", "text", "gibibytes"),
    [
        ("sys/fs/cgroup/memory.max", f"{4 * GIB}\n", 4),
        ("sys/fs/cgroup/memory.max", "max\n", 16),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", f"{2 * GIB}\n", 2),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n", 16),
    ],
)
def test_the_limit_of_a_container_counts(tmp_path, path, text, gibibytes):
    write(tmp_path, "proc/meminfo", "MemAvailable:   16777216 kB\n")
    write(tmp_path, path, text)
    assert inspect(tmp_path).memory == gibibytes * GIB


def test_with_cuda_compat_the_age_of_the_driver_does_not_count(tmp_path):
    write(
        tmp_path, "proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May\n"
    )
    assert inspect(tmp_path).driver == 535
    write(tmp_path, "usr/local/cuda/compat/libcuda.so.1")
    assert inspect(tmp_path).driver is None


@pytest.mark.parametrize(
    ("path", "text", "killed"),
    [
        ("sys/fs/cgroup/memory.events", "low 0\noom 1\noom_kill 1\n", True),
        ("sys/fs/cgroup/memory.events", "low 0\noom 0\noom_kill 0\n", False),
        ("sys/fs/cgroup/memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 12\n", True),
        ("sys/fs/cgroup/memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n", False),
    ],
)
def test_what_the_kernel_has_killed_for_want_of_memory_is_known(tmp_path, path, text, killed):
    assert not killed_for_memory(tmp_path)
    write(tmp_path, path, text)
    assert killed_for_memory(tmp_path) == killed


def test_this_machine_can_be_read():
    assert inspect().temporary > 0
