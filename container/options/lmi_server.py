"""What LMI's Java server and its image read, and Lumi does not need. See docs/lmi-options.md."""

from container.options.accepted import OFF, ON, Accepted

_OWN_CODE = "code of your own is not run yet; every request goes to the model as it is"
_NO_JAVA = "no Java runs here"
_STATUS = "status codes are fixed; OPTION_ERROR_COMPAT=lmi answers as LMI does"
_TLS = "Lumi speaks plain HTTP; SageMaker or a proxy in front of it ends TLS"
_PORT = "OPTION_PORT and OPTION_HOST say where Lumi listens"
_ONE_MODEL = "Lumi serves one model; name it with HF_MODEL_ID"
_SECURITY = "Lumi has no secure mode; it runs no code of the model unless OPTION_TRUST_REMOTE_CODE=true"

# Keys of LMI's Java server: config.properties there, SERVING_<KEY> in the environment.
SERVER_KEYS = (
    Accepted(("inference_address", "management_address"), _PORT, moot=("http://0.0.0.0:8080",)),
    Accepted(("cluster_address",), "a model is served by one container"),
    Accepted(("model_store",), _ONE_MODEL, moot=("/opt/ml/model", "/opt/ml/model/")),
    Accepted(("load_models",), _ONE_MODEL, moot=("all",)),
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
    Accepted(("chunked_read_timeout",), "OPTION_PREDICT_TIMEOUT bounds the whole answer"),
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
    Accepted(("request_id_header_key",), "the header of the request id is fixed"),
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
    Accepted((), _OWN_CODE, moot=OFF, variables=("ALLOW_REQUEST_HANDLER_OVERRIDE",)),
    Accepted((), _NO_JAVA, variables=("MAX_NETTY_BUFFER_SIZE",)),
    Accepted((), "a model is served by one container", moot=("1",), variables=("DJL_CLUSTER_SIZE",)),
    Accepted(
        (),
        "LMI does not read it either; set OPTION_MAX_MODEL_LEN",
        variables=("MAX_INPUT_LENGTH", "MAX_INPUT_TOKENS", "MAX_TOTAL_TOKENS"),
    ),
    Accepted((), "chat completions need no switch", moot=ON, variables=("MESSAGES_API_ENABLED",)),
    Accepted((), "LMI does not read it either; set HF_REVISION", variables=("HF_MODEL_REVISION",)),
)
