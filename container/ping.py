"""Is the server on this machine ready? For the image's HEALTHCHECK: light, for it runs every half minute."""

import http.client
import json
import sys
from collections.abc import Mapping

from container.address_file import live_addresses
from container.options import resolve
from handler.engines.vllm import field_names
from handler.errors import StartError

SECONDS = 5
ANY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104  # the host of a server that listens everywhere


def ping(environ: Mapping[str, str]) -> int:
    """0 if it is ready, else 1. What /ping reports is printed."""
    try:
        host, port = _address(environ)
    except StartError:
        # The server has failed on these options as well, and printed the reason.
        print("the options are faulty", file=sys.stderr)  # noqa: T201
        return 1
    connection = http.client.HTTPConnection("localhost" if host in ANY_ADDRESS else host, port, timeout=SECONDS)
    try:
        connection.request("GET", "/ping")
        response = connection.getresponse()
        print(json.dumps(json.load(response)))  # noqa: T201  # docker inspect shows it
    except (OSError, ValueError, http.client.HTTPException) as fault:
        print(f"no response on port {port}: {fault}", file=sys.stderr)  # noqa: T201
        return 1
    else:
        return int(response.status != http.client.OK)
    finally:
        connection.close()


def _address(environ: Mapping[str, str]) -> tuple[str, int]:
    """The host and port of the only server that runs; of several, or none, those that the environment names. Raises
    StartError."""
    live = live_addresses()
    if len(live) == 1:
        return live[0].host, live[0].port
    options = resolve(environ, engine_fields=field_names).options
    host = next((address.host for address in live if address.port == options.port), options.host)
    return host, options.port
