"""Arguments of `vllm serve` that are no engine arguments and that Lumi ignores, as SM_VLLM_* may name them.

The names are those of vLLM 0.32's `entrypoints/launchers/cli_args.py`, read 2026-11-22; a test compares them.
"""

from container.options.lmi.ignored import OFF, ON, Ignored

_FRONT_END = "it is an option of the HTTP server of `vllm serve`, which does not run here"
_TEMPLATE = "a request's own chat template is refused: it is code"

VLLM_SERVER = (
    Ignored(
        ("response_role", "max_log_len", "enable_log_requests", "disable_log_requests", "return_tokens_as_token_ids"),
        _FRONT_END,
    ),
    Ignored(
        (
            "anthropic_disabled_thinking_effort",
            "api_server_count",
            "cohere_format",
            "cohere_is_reasoning_model",
            "data_parallel_supervisor_port",
            "disable_access_log_for_endpoints",
            "disable_fastapi_docs",
            "dp_supervisor_probe_failure_threshold",
            "dp_supervisor_probe_interval_s",
            "dp_supervisor_probe_timeout_s",
            "enable_flash_late_interaction",
            "enable_force_include_usage",
            "enable_log_deltas",
            "enable_log_outputs",
            "enable_offline_docs",
            "enable_per_request_metrics",
            "enable_request_id_headers",
            "enable_scale_out",
            "enable_server_load_tracking",
            "enable_tokenizer_info_endpoint",
            "exclude_tools_when_tool_choice_none",
            "fingerprint_mode",
            "fingerprint_value",
            "grpc",
            "grpc_port",
            "h11_max_header_count",
            "h11_max_incomplete_event_size",
            "log_error_stack",
            "middleware",
            "root_path",
            "sse_keep_alive_interval",
            "tool_server",
            "tool_strict_level",
            "uds",
        ),
        _FRONT_END,
        no_effect=OFF,
    ),
    Ignored(("uvicorn_log_level", "disable_uvicorn_access_log"), "set OPTION_LOG_LEVEL", no_effect=OFF),
    Ignored(("enable_prompt_tokens_details",), "responses always have them", no_effect=ON),
    Ignored(("trust_request_chat_template",), _TEMPLATE, no_effect=OFF),
    Ignored(("trust_request_mm_kwargs",), "requests cannot set them; set OPTION_MM_PROCESSOR_KWARGS", no_effect=OFF),
    Ignored(("tool_parser_plugin",), "only vLLM's own parsers are loaded"),
    Ignored(("headless",), "OPTION_NODE_RANK says which node serves requests", no_effect=OFF),
    Ignored(("config",), "set each of its arguments as an option"),
    Ignored(
        ("allow_credentials", "allowed_origins", "allowed_methods", "allowed_headers"),
        "Lumi sets no CORS headers; a proxy can",
        no_effect=OFF,
    ),
    Ignored(
        ("ssl_keyfile", "ssl_certfile", "ssl_ca_certs", "ssl_cert_reqs", "ssl_ciphers", "enable_ssl_refresh"),
        "Lumi serves plain HTTP; SageMaker or a proxy terminates TLS",
        no_effect=OFF,
    ),
)
