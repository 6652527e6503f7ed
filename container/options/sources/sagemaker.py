"""Whether this container runs on a host of a SageMaker endpoint, by the environment that only such a host gives it."""

import re
from collections.abc import Mapping

# Dumps of the environment of endpoints' containers (pytorch/serve#631 and #1028) and AWS's page on multi-container
# endpoints, all read 2026-11-22. Neither mark is enough alone: people set the first for tests of SageMaker's images, and
# Amazon ECS, on which the hosts run their containers, sets the second everywhere.
_PORTS = "SAGEMAKER_SAFE_PORT_RANGE"
_AGENT = ("ECS_CONTAINER_METADATA_URI_V4", "ECS_CONTAINER_METADATA_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")


def is_sagemaker_host(environ: Mapping[str, str]) -> bool:
    """True only with both marks: a range of ports, and an address of the container agent."""
    has_ports = re.fullmatch(r"\d+-\d+", environ.get(_PORTS, "").strip(), re.ASCII) is not None
    return has_ports and any(environ.get(name, "").strip() for name in _AGENT)
