"""The load of the server as a response header, which a balancer asks for in each request (ORCA, as vLLM writes it)."""

import json

from container.http.metrics import Metrics

# vLLM 0.32, entrypoints/serve/utils/orca_metrics.py and openai/chat_completion/api_router.py, 2026-11-22.
FORMAT_HEADER = "endpoint-load-metrics-format"
HEADER = "endpoint-load-metrics"
KV_CACHE_USAGE = "vllm:kv_cache_usage_perc"


def load_report(wanted: str, metrics: Metrics) -> str | None:
    """The value of the header in the format `wanted`, TEXT or JSON; None for any other.

    Requests wait here and not in vLLM, so that the number of those is ours.
    """
    usage = metrics.gauge(KV_CACHE_USAGE)
    named = {} if usage is None else {"kv_cache_usage_perc": usage}
    named["num_requests_waiting"] = float(metrics.queued)
    match wanted.strip().upper():
        case "TEXT":
            return "TEXT " + ", ".join(f"named_metrics.{name}={value}" for name, value in named.items())
        case "JSON":
            return "JSON " + json.dumps({"named_metrics": named})
        case _:
            return None
