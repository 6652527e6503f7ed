"""`python -m container serve|check|ping`."""

import os
import signal
import sys
from types import FrameType


def _end(_number: int, _frame: FrameType | None) -> None:
    """Nothing that runs needs to finish. Without a handler the first process of a container gets no SIGTERM."""
    sys.exit(0)


# The guard matters: the engine's processes are spawned, and import this module again.
if __name__ == "__main__":
    if sys.argv[1:] == ["ping"]:
        from container.ping import ping  # the server's own imports take a second, every half minute

        sys.exit(ping(os.environ))
    if sys.argv[1:2] not in (["check"], ["diff"]):  # one that was interrupted must not exit with 0
        for number in (signal.SIGTERM, signal.SIGINT):  # until the server's event loop takes them over
            signal.signal(number, _end)
    from container.entrypoint import main

    sys.exit(main(sys.argv[1:], os.environ))
