import subprocess
import sys
from pathlib import Path

import pytest

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
    assert faults("from container.start.allocator import keep_large_blocks; keep_large_blocks()") * 10 < faults("")
