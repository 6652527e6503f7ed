"""`python -m container serve|check`."""

import os
import sys

from container.entrypoint import main

# The guard matters: the engine's processes are spawned, and import this module again.
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
