"""`python -m container serve|check|ping`."""

import os
import sys

# The guard matters: the engine's processes are spawned, and import this module again.
if __name__ == "__main__":
    if sys.argv[1:] == ["ping"]:
        from container.ping import ping  # the server's own imports take a second, every half minute

        sys.exit(ping(os.environ))
    from container.entrypoint import main

    sys.exit(main(sys.argv[1:], os.environ))
