"""docs/routing.md against the simulation that it reports."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_page_has_what_the_simulation_prints():
    script = ROOT / "benchmarks" / "routing.py"
    printed = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=True, timeout=300
    ).stdout
    assert printed.count("\n") > 5
    assert printed in (ROOT / "docs" / "routing.md").read_text()
