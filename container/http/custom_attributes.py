"""SageMaker's custom attributes -> the route that a request to /invocations names, as in AWS's vLLM container."""

import re

from starlette.datastructures import Headers

HEADER = "X-Amzn-SageMaker-Custom-Attributes"
# The header is a text of the client's own, in which AWS's vLLM container looks for `route=/v1/...`, up to a blank or a
# comma: deep-learning-containers, scripts/docker/vllm/sagemaker_serve.py, read 2026-11-22.
_ROUTE = re.compile(r"(?:^|[\s,;])route=(/[^\s,;]*)")


def named_route(headers: Headers) -> str | None:
    """The path after `route=`; None where there is none."""
    found = _ROUTE.search(headers.get(HEADER, ""))
    return found[1] if found else None
