"""What LMI's Java server and its image read, and Lumi does not need. See docs/lmi-options.md."""

from container.options.lmi.ignored import OFF, ON, Ignored, PassedThrough

_NO_JAVA = "no Java runs here"
_STATUS = "status codes are fixed; OPTION_ERROR_COMPAT=lmi answers as LMI does"
_TLS = "Lumi speaks plain HTTP; SageMaker or a proxy in front of it ends TLS"
_NOT_IN_FILE = "it is a key of LMI's config.properties, not of a model"
_ONE_MODEL = "Lumi serves one model; name it with HF_MODEL_ID"
_SECURITY = "Lumi has no secure mode; it runs no code of the model unless OPTION_TRUST_REMOTE_CODE=true"

# Keys of LMI's Java server: config.properties there, SERVING_<KEY> in the environment.
SERVER_KEYS = (
    Ignored(("inference_address",), f"{_NOT_IN_FILE}; set SERVING_INFERENCE_ADDRESS, or OPTION_PORT and OPTION_HOST"),
    Ignored(
        ("management_address",), "all routes are at one address; see OPTION_PORT", no_effect=("http://0.0.0.0:8080",)
    ),
    Ignored(("cluster_address",), "a model is served by one container"),
    Ignored(
        ("model_store",), f"{_NOT_IN_FILE}; set SERVING_MODEL_STORE", no_effect=("/opt/ml/model", "/opt/ml/model/")
    ),
    Ignored(("load_models",), f"{_NOT_IN_FILE}; set SERVING_LOAD_MODELS", no_effect=("all",)),
    Ignored(("features",), "Lumi always serves with vLLM", no_effect=("vllm",)),
    Ignored(("fail_fast",), "Lumi always ends when the model cannot be served", no_effect=ON),
    Ignored(("wait_model_loading",), "the port is bound at once, and /ping says 503 until the model answers"),
    Ignored(("allow_multi_status",), "/ping says 503 until the model answers", no_effect=OFF),
    Ignored(
        ("health_check_override",),
        "/ping always tells whether the engine is alive",
        no_effect=ON,
        variables=("SAGEMAKER_HEALTH_CHECK_OVERRIDE",),
    ),
    Ignored(("chunked_read_timeout",), f"{_NOT_IN_FILE}; set option.predict_timeout"),
    Ignored(("number_of_netty_threads", "netty_client_threads"), _NO_JAVA, no_effect=("0",)),
    Ignored(("opts",), _NO_JAVA, variables=("JAVA_OPTS", "DEFAULT_JVM_OPTS", "SAGEMAKER_MODEL_SERVER_VMARGS")),
    Ignored(
        ("error_rate_wlm", "error_rate_server", "error_rate_model", "error_rate_any"),
        "/ping fails when the engine is dead, not when answers are errors",
    ),
    Ignored(
        (
            "bad_request_error_http_code",
            "wlm_error_http_code",
            "throttle_error_http_code",
            "timeout_error_http_code",
            "server_error_http_code",
        ),
        _STATUS,
    ),
    Ignored(
        ("request_id_header_key",),
        "the header of the request id is fixed",
        no_effect=("x-request-id", "x-amzn-sagemaker-inference-id"),
    ),
    Ignored(
        ("cors_allowed_origin", "cors_allowed_methods", "cors_allowed_headers"),
        "Lumi sets no CORS headers; a proxy in front may",
    ),
    Ignored(("keystore", "keystore_pass", "keystore_type", "private_key_file", "certificate_file"), _TLS),
    Ignored(("model_url_pattern", "plugin_folder"), "models are not registered at run time, and there are no plugins"),
    Ignored(("prometheus",), "metrics have no switch", no_effect=ON),
)

# Other variables that LMI, TGI or SageMaker know and people set.
VARIABLES = (
    Ignored(
        (),
        "HF_HOME says where models are kept, and OPTION_DOWNLOAD_DIR those from S3",
        variables=("SERVING_DOWNLOAD_DIR", "DJL_CACHE_DIR"),
    ),
    Ignored((), _ONE_MODEL, no_effect=OFF, variables=("SAGEMAKER_MULTI_MODEL",)),
    Ignored((), "the request's own Accept decides", variables=("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT",)),
    Ignored((), _SECURITY, no_effect=OFF, variables=("SAGEMAKER_SECURE_MODE",)),
    Ignored((), _SECURITY, variables=("SAGEMAKER_SECURITY_CONTROLS", "SAGEMAKER_UNTRUSTED_CHANNELS")),
    Ignored((), "requests cannot choose their handler", no_effect=OFF, variables=("ALLOW_REQUEST_HANDLER_OVERRIDE",)),
    Ignored((), _NO_JAVA, variables=("MAX_NETTY_BUFFER_SIZE",)),
    Ignored(
        (),
        "OPTION_NODE_RANK, or the number at the end of the host name, says which of several nodes this is",
        variables=("DJL_WORKER_ADDR_FORMAT",),
    ),
    Ignored((), "arguments are for LMI's Java translators; write OPTION_<NAME>", variables=("ARGS_*",)),
    Ignored((), "the port is one, and SAGEMAKER_BIND_TO_PORT says which", variables=("SAGEMAKER_SAFE_PORT_RANGE",)),
    Ignored((), "nothing is optimised or compiled by SageMaker Neo here", variables=("SM_NEO_*",)),
    Ignored(
        (), "no profiler is installed; vLLM's own is set by OPTION_PROFILER_CONFIG", variables=("LMI_DEBUG_NSYS_*",)
    ),
    Ignored((), "the log goes to the standard output", variables=("SM_TELEMETRY_LOG*",)),
    Ignored((), "Lumi reports nothing to anyone", no_effect=ON, variables=("OPT_OUT_TRACKING",)),
    Ignored(
        (),
        "the hub's client no longer has it; HF_XET_HIGH_PERFORMANCE=1 is its successor",
        no_effect=OFF,
        variables=("HF_HUB_ENABLE_HF_TRANSFER",),
    ),
    Ignored(
        (),
        "LMI does not read it either; set OPTION_MAX_MODEL_LEN",
        variables=("MAX_INPUT_LENGTH", "MAX_INPUT_TOKENS", "MAX_TOTAL_TOKENS"),
    ),
    Ignored((), "chat completions need no switch", no_effect=ON, variables=("MESSAGES_API_ENABLED",)),
    Ignored((), "LMI does not read it either; set HF_REVISION", variables=("HF_MODEL_REVISION",)),
)

# What works because of who reads it.
PASSED_THROUGH = (
    PassedThrough(("SERVING_MODEL_STORE",), "The model directory, in place of /opt/ml/model."),
    PassedThrough(
        ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_XET_*"),
        "The hub's client reads it.",
    ),
    PassedThrough(("TRANSFORMERS_*",), "transformers reads it."),
    PassedThrough(("VLLM_*",), "vLLM reads it."),
    PassedThrough(("SAFETENSORS_FAST_GPU",), "safetensors reads it."),
    PassedThrough(("CUDA_VISIBLE_DEVICES", "NCCL_*"), "CUDA and NCCL read it."),
    PassedThrough(("AWS_*",), "boto3 reads it, for models on S3."),
)
