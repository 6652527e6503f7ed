"""Is the server on this machine ready? For the image's HEALTHCHECK: light, for it runs every half minute."""

import http.client
import json
import sys
from collections.abc import Mapping

from container.options import resolve
from handler.engines.vllm import field_names
from handler.errors import StartError

SECONDS = 5
ANY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104  # what a server that listens everywhere says


def ping(environ: Mapping[str, str]) -> int:
    """0 if it is, else 1; what /ping says is printed."""
    try:
        options = resolve(environ, engine_fields=field_names).options
        port, host = options.port, options.host
    except StartError:
        # The server has refused these options as well, in words.
        print("the options are at fault", file=sys.stderr)  # noqa: T201
        return 1
    connection = http.client.HTTPConnection("localhost" if host in ANY_ADDRESS else host, port, timeout=SECONDS)
    try:
        connection.request("GET", "/ping")
        response = connection.getresponse()
        print(json.dumps(json.load(response)))  # noqa: T201  # docker inspect shows it
    except (OSError, ValueError, http.client.HTTPException) as fault:
        print(f"no answer on port {port}: {fault}", file=sys.stderr)  # noqa: T201
        return 1
    else:
        return int(response.status != http.client.OK)
    finally:
        connection.close()
