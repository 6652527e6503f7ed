"""What LMI's Java server and its image read, and Lumi does not need. See docs/lmi-options.md."""

from container.options.accepted import OFF, ON, Accepted, Heeded

_NO_JAVA = "no Java runs here"
_STATUS = "status codes are fixed; OPTION_ERROR_COMPAT=lmi answers as LMI does"
_TLS = "Lumi speaks plain HTTP; SageMaker or a proxy in front of it ends TLS"
_NOT_IN_FILE = "it is a key of LMI's config.properties, not of a model"
_ONE_MODEL = "Lumi serves one model; name it with HF_MODEL_ID"
_SECURITY = "Lumi has no secure mode; it runs no code of the model unless OPTION_TRUST_REMOTE_CODE=true"

# Keys of LMI's Java server: config.properties there, SERVING_<KEY> in the environment.
SERVER_KEYS = (
    Accepted(("inference_address",), f"{_NOT_IN_FILE}; set SERVING_INFERENCE_ADDRESS, or OPTION_PORT and OPTION_HOST"),
    Accepted(("management_address",), "all routes are at one address; see OPTION_PORT", moot=("http://0.0.0.0:8080",)),
    Accepted(("cluster_address",), "a model is served by one container"),
    Accepted(("model_store",), f"{_NOT_IN_FILE}; set SERVING_MODEL_STORE", moot=("/opt/ml/model", "/opt/ml/model/")),
    Accepted(("load_models",), f"{_NOT_IN_FILE}; set SERVING_LOAD_MODELS", moot=("all",)),
    Accepted(("features",), "Lumi always serves with vLLM", moot=("vllm",)),
    Accepted(("fail_fast",), "Lumi always ends when the model cannot be served", moot=ON),
    Accepted(("wait_model_loading",), "the port is bound at once, and /ping says 503 until the model answers"),
    Accepted(("allow_multi_status",), "/ping says 503 until the model answers", moot=OFF),
    Accepted(
        ("health_check_override",),
        "/ping always tells whether the engine is alive",
        moot=ON,
        variables=("SAGEMAKER_HEALTH_CHECK_OVERRIDE",),
    ),
    Accepted(("chunked_read_timeout",), f"{_NOT_IN_FILE}; set option.predict_timeout"),
    Accepted(("number_of_netty_threads", "netty_client_threads"), _NO_JAVA, moot=("0",)),
    Accepted(("opts",), _NO_JAVA, variables=("JAVA_OPTS", "DEFAULT_JVM_OPTS", "SAGEMAKER_MODEL_SERVER_VMARGS")),
    Accepted(
        ("error_rate_wlm", "error_rate_server", "error_rate_model", "error_rate_any"),
        "/ping fails when the engine is dead, not when answers are errors",
    ),
    Accepted(
        (
            "bad_request_error_http_code",
            "wlm_error_http_code",
            "throttle_error_http_code",
            "timeout_error_http_code",
            "server_error_http_code",
        ),
        _STATUS,
    ),
    Accepted(
        ("request_id_header_key",),
        "the header of the request id is fixed",
        moot=("x-request-id", "x-amzn-sagemaker-inference-id"),
    ),
    Accepted(
        ("cors_allowed_origin", "cors_allowed_methods", "cors_allowed_headers"),
        "Lumi sets no CORS headers; a proxy in front may",
    ),
    Accepted(("keystore", "keystore_pass", "keystore_type", "private_key_file", "certificate_file"), _TLS),
    Accepted(("model_url_pattern", "plugin_folder"), "models are not registered at run time, and there are no plugins"),
    Accepted(("prometheus",), "metrics have no switch", moot=ON),
)

# Other variables that LMI, TGI or SageMaker know and people set.
VARIABLES = (
    Accepted(
        (),
        "HF_HOME says where models are kept, and OPTION_DOWNLOAD_DIR those from S3",
        variables=("SERVING_DOWNLOAD_DIR", "DJL_CACHE_DIR"),
    ),
    Accepted((), _ONE_MODEL, moot=OFF, variables=("SAGEMAKER_MULTI_MODEL",)),
    Accepted((), "the request's own Accept decides", variables=("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT",)),
    Accepted((), _SECURITY, moot=OFF, variables=("SAGEMAKER_SECURE_MODE",)),
    Accepted((), _SECURITY, variables=("SAGEMAKER_SECURITY_CONTROLS", "SAGEMAKER_UNTRUSTED_CHANNELS")),
    Accepted((), "requests cannot choose their handler", moot=OFF, variables=("ALLOW_REQUEST_HANDLER_OVERRIDE",)),
    Accepted((), _NO_JAVA, variables=("MAX_NETTY_BUFFER_SIZE",)),
    Accepted(
        (),
        "OPTION_NODE_RANK, or the number at the end of the host name, says which of several nodes this is",
        variables=("DJL_WORKER_ADDR_FORMAT",),
    ),
    Accepted((), "arguments are for LMI's Java translators; write OPTION_<NAME>", variables=("ARGS_*",)),
    Accepted((), "the port is one, and SAGEMAKER_BIND_TO_PORT says which", variables=("SAGEMAKER_SAFE_PORT_RANGE",)),
    Accepted((), "nothing is optimised or compiled by SageMaker Neo here", variables=("SM_NEO_*",)),
    Accepted(
        (), "no profiler is installed; vLLM's own is set by OPTION_PROFILER_CONFIG", variables=("LMI_DEBUG_NSYS_*",)
    ),
    Accepted((), "the log goes to the standard output", variables=("SM_TELEMETRY_LOG*",)),
    Accepted((), "Lumi reports nothing to anyone", moot=ON, variables=("OPT_OUT_TRACKING",)),
    Accepted(
        (),
        "the hub's client no longer has it; HF_XET_HIGH_PERFORMANCE=1 is its successor",
        moot=OFF,
        variables=("HF_HUB_ENABLE_HF_TRANSFER",),
    ),
    Accepted(
        (),
        "LMI does not read it either; set OPTION_MAX_MODEL_LEN",
        variables=("MAX_INPUT_LENGTH", "MAX_INPUT_TOKENS", "MAX_TOTAL_TOKENS"),
    ),
    Accepted((), "chat completions need no switch", moot=ON, variables=("MESSAGES_API_ENABLED",)),
    Accepted((), "LMI does not read it either; set HF_REVISION", variables=("HF_MODEL_REVISION",)),
)

# What works because of who reads it.
HEEDED = (
    Heeded(("SERVING_MODEL_STORE",), "The model directory, in place of /opt/ml/model."),
    Heeded(
        ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_XET_*"),
        "The hub's client reads it.",
    ),
    Heeded(("TRANSFORMERS_*",), "transformers reads it."),
    Heeded(("VLLM_*",), "vLLM reads it."),
    Heeded(("SAFETENSORS_FAST_GPU",), "safetensors reads it."),
    Heeded(("CUDA_VISIBLE_DEVICES", "NCCL_*"), "CUDA and NCCL read it."),
    Heeded(("AWS_*",), "boto3 reads it, for models on S3."),
)
