import subprocess
import sys
from pathlib import Path

import pytest

from container.start.memory import is_killed_for_memory

# Faults that a process takes when it makes, fills and drops a 64 MB block, again and again.
CODE = """
import resource
{prepare}
def churn():
    for _ in range(10):
        block = bytearray(64 << 20)
        del block
churn()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
churn()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(prepare):
    outcome = subprocess.run(
        [sys.executable, "-c", CODE.format(prepare=prepare)],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(outcome.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator is what is set")
def test_large_blocks_are_used_again_without_page_faults():
    assert faults("from container.start.memory import keep_large_blocks; keep_large_blocks()") * 10 < faults("")


@pytest.mark.parametrize(
    ("path", "text", "killed"),
    [
        ("sys/fs/cgroup/memory.events", "low 0\noom 1\noom_kill 1\n", True),
        ("sys/fs/cgroup/memory.events", "low 0\noom 0\noom_kill 0\n", False),
        ("sys/fs/cgroup/memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 12\n", True),
        ("sys/fs/cgroup/memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n", False),
    ],
)
def test_a_process_that_the_kernel_killed_because_memory_ran_out_is_known(tmp_path, path, text, killed):
    assert not is_killed_for_memory(tmp_path)
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text(text)
    assert is_killed_for_memory(tmp_path) == killed
