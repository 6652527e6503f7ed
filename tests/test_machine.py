import pytest

from container.model_store import locate
from container.options import resolve
from container.start.driver import Driver
from container.start.machine import GIB, MIB, Machine, Needs, check_needs, inspect, needs
from handler.engines.vllm import field_names
from handler.errors import StartError

GOOD = {"gpus": 2, "driver": Driver(580), "memory": 64 * GIB, "shared_memory": GIB, "temporary": 100 * GIB}


def message(needs, **different):
    with pytest.raises(StartError) as error:
        check_needs(Machine(**{**GOOD, **different}), needs)
    return str(error.value)


@pytest.mark.parametrize("needs", [Needs(cuda=13, processes=2), Needs(cuda=None, memory=10 * GIB)])
def test_a_machine_that_has_everything_passes(needs):
    check_needs(Machine(**GOOD), needs)


def test_a_fact_that_is_unknown_does_not_fail_the_start():
    unknown = Machine(gpus=1, driver=Driver(), memory=None, shared_memory=None, temporary=GIB)
    check_needs(unknown, Needs(cuda=13, processes=2, memory=10 * GIB))


def test_without_a_gpu_the_gpu_build_names_the_flag_and_the_cpu_image():
    text = message(Needs(cuda=13), gpus=0, driver=Driver())
    assert "--gpus all" in text
    assert "cpu image" in text


def test_the_cpu_build_needs_no_gpu():
    check_needs(Machine(**{**GOOD, "gpus": 0, "driver": Driver()}), Needs(cuda=None))


def test_a_driver_that_is_too_old_ends_the_start_only_where_a_gpu_is_needed():
    assert "driver is 470" in message(Needs(cuda=13), driver=Driver(470))
    check_needs(Machine(**{**GOOD, "driver": Driver(470)}), Needs(cuda=None))


def test_memory_is_added_up_before_a_byte_is_loaded():
    text = message(Needs(cuda=None, memory=15 * GIB), memory=16 * GIB)
    assert "15.0 GiB" in text
    assert "2.0 GiB" in text
    assert "16.0 GiB" in text


def test_on_a_gpu_the_weights_do_not_stay_in_memory():
    check_needs(Machine(**{**GOOD, "memory": 8 * GIB}), Needs(cuda=13, memory=15 * GIB))


def test_one_process_needs_no_shared_memory_and_two_do():
    small = {"shared_memory": 64 * MIB}
    check_needs(Machine(**{**GOOD, **small}), Needs(cuda=13))
    assert "--shm-size" in message(Needs(cuda=13, processes=2), **small)


def test_a_temporary_directory_must_be_there_and_have_room():
    assert "--tmpfs /tmp:exec" in message(Needs(cuda=None), temporary=None)
    assert "1 MiB free" in message(Needs(cuda=None), temporary=MIB)


def test_what_is_compiled_must_be_allowed_to_run():
    assert "--tmpfs /tmp:exec" in message(Needs(cuda=None, compiles=True), temporary_runs=False)
    check_needs(Machine(**GOOD, temporary_runs=False), Needs(cuda=None))


def test_everything_that_is_missing_is_reported_at_once():
    text = message(Needs(cuda=13, processes=2), gpus=0, shared_memory=MIB, temporary=None)
    assert len(text.splitlines()) == 3


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
    assert (machine.gpus, machine.driver.version, machine.memory) == (2, 580, 16 * GIB)
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


def test_this_machine_can_be_read():
    assert inspect().temporary > 0


def needed(directory, *, gpus=0, cuda=None, **environ):
    options = resolve({"HF_MODEL_ID": str(directory), **environ}, engine_fields=field_names).options
    return needs(options, locate(options.model_id), gpus=gpus, cuda=cuda)


@pytest.fixture
def model(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(bytes(3 * MIB))
    return tmp_path


@pytest.mark.parametrize(
    ("size", "of_the_cache"),
    [("1024", 1024), ("1k", 1000), ("1K", 1024), ("1.5g", 1_500_000_000), ("2G", 2**31)],
)
def test_memory_is_the_weights_and_the_cache_in_all_forms_that_vllm_reads(model, size, of_the_cache):
    assert needed(model, OPTION_KV_CACHE_MEMORY_BYTES=size).memory == 3 * MIB + of_the_cache


def test_max_is_all_gpus_and_one_process_on_a_cpu(model):
    assert needed(model, gpus=4, cuda=13).processes == 4
    assert needed(model, gpus=4).processes == 1
    assert needed(model, gpus=4, cuda=13, OPTION_PIPELINE_PARALLEL_DEGREE="2").processes == 8


def test_what_is_compiled_needs_a_place_to_run_from(model):
    assert needed(model).compiles
    assert needed(model, cuda=13, OPTION_ENFORCE_EAGER="true").compiles
    assert not needed(model, OPTION_ENFORCE_EAGER="true").compiles
