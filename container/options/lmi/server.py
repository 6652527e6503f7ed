"""Settings of LMI's Java server and of its image that Lumi ignores. See docs/lmi-options.md."""

from container.options.lmi.ignored import OFF, ON, Ignored, PassedThrough

_NO_JAVA = "there is no Java server"
_STATUS = "status codes are fixed; OPTION_ERROR_COMPAT=lmi returns LMI's"
_TLS = "Lumi serves plain HTTP; SageMaker or a proxy terminates TLS"
_NOT_IN_FILE = "it is a key of config.properties, not of serving.properties"
_ONE_MODEL = "Lumi serves one model; set HF_MODEL_ID to it"
_SECURITY = "Lumi has no secure mode; it runs no code from the model repository unless OPTION_TRUST_REMOTE_CODE=true"
_RESTARTS = "OPTION_ENGINE_RESTARTS is how often an engine that dies is started again"
_REQUIREMENTS = "OPTION_INSTALL_REQUIREMENTS=true installs the requirements.txt beside your code"

# Keys of LMI's Java server: config.properties there, SERVING_<KEY> in the environment.
SERVER_KEYS = (
    Ignored(("inference_address",), f"{_NOT_IN_FILE}; set SERVING_INFERENCE_ADDRESS, or OPTION_PORT and OPTION_HOST"),
    Ignored(
        ("management_address",), "all routes have one address; see OPTION_PORT", no_effect=("http://0.0.0.0:8080",)
    ),
    Ignored(("cluster_address",), "one container serves the model; see OPTION_NNODES for several nodes"),
    Ignored(
        ("model_store",), f"{_NOT_IN_FILE}; set SERVING_MODEL_STORE", no_effect=("/opt/ml/model", "/opt/ml/model/")
    ),
    Ignored(("load_models",), f"{_NOT_IN_FILE}; set SERVING_LOAD_MODELS", no_effect=("all",)),
    Ignored(("features",), "Lumi always serves with vLLM", no_effect=("vllm",)),
    Ignored(("fail_fast",), "Lumi always exits if the model cannot be served", no_effect=ON),
    Ignored(("wait_model_loading",), "the port is bound at once, and /ping returns 503 until the model is ready"),
    Ignored(("allow_multi_status",), "/ping returns 503 until the model is ready", no_effect=OFF),
    Ignored(
        ("health_check_override",),
        "/ping always reports whether the engine is alive",
        no_effect=ON,
        variables=("SAGEMAKER_HEALTH_CHECK_OVERRIDE",),
    ),
    Ignored(("chunked_read_timeout",), f"{_NOT_IN_FILE}; set option.predict_timeout"),
    Ignored(("number_of_netty_threads", "netty_client_threads"), _NO_JAVA, no_effect=("0",)),
    Ignored(("opts",), _NO_JAVA, variables=("JAVA_OPTS", "DEFAULT_JVM_OPTS", "SAGEMAKER_MODEL_SERVER_VMARGS")),
    Ignored(
        ("error_rate_wlm", "error_rate_server", "error_rate_model", "error_rate_any"),
        "/ping fails if the engine is dead, not if responses are errors",
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
        "the header of the request id cannot be changed",
        no_effect=("x-request-id", "x-amzn-sagemaker-inference-id"),
    ),
    Ignored(
        ("cors_allowed_origin", "cors_allowed_methods", "cors_allowed_headers"),
        "Lumi sets no CORS headers; a proxy can",
    ),
    Ignored(("keystore", "keystore_pass", "keystore_type", "private_key_file", "certificate_file"), _TLS),
    Ignored(("model_url_pattern", "plugin_folder"), "models are not registered at run time, and there are no plugins"),
    Ignored(("prometheus",), "metrics are always available", no_effect=ON),
)

# Other variables that LMI, TGI or SageMaker know and people set.
VARIABLES = (
    Ignored(
        (),
        "HF_HOME sets the directory of models from the Hub, and OPTION_DOWNLOAD_DIR that of models from S3",
        variables=("SERVING_DOWNLOAD_DIR", "DJL_CACHE_DIR"),
    ),
    Ignored((), _ONE_MODEL, no_effect=OFF, variables=("SAGEMAKER_MULTI_MODEL",)),
    Ignored((), "the Accept header of the request decides", variables=("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT",)),
    Ignored((), _SECURITY, no_effect=OFF, variables=("SAGEMAKER_SECURE_MODE",)),
    Ignored((), _SECURITY, variables=("SAGEMAKER_SECURITY_CONTROLS", "SAGEMAKER_UNTRUSTED_CHANNELS")),
    Ignored((), "requests cannot select a handler", no_effect=OFF, variables=("ALLOW_REQUEST_HANDLER_OVERRIDE",)),
    Ignored((), _NO_JAVA, variables=("MAX_NETTY_BUFFER_SIZE",)),
    Ignored(
        (),
        "OPTION_NODE_RANK, or the number at the end of the host name, is the rank of the node",
        variables=("DJL_WORKER_ADDR_FORMAT",),
    ),
    Ignored((), "it is for LMI's Java translators; write OPTION_<NAME>", variables=("ARGS_*",)),
    Ignored((), "Lumi does not use SageMaker Neo", variables=("SM_NEO_*",)),
    Ignored((), "no profiler is installed; set OPTION_PROFILER_CONFIG for vLLM's own", variables=("LMI_DEBUG_NSYS_*",)),
    Ignored((), "the log goes to standard output", variables=("SM_TELEMETRY_LOG*",)),
    Ignored((), "Lumi collects no usage data", no_effect=ON, variables=("OPT_OUT_TRACKING",)),
    Ignored(
        (),
        "the Hub's client no longer has it; HF_XET_HIGH_PERFORMANCE=1 replaces it",
        no_effect=OFF,
        variables=("HF_HUB_ENABLE_HF_TRANSFER",),
    ),
    # TGI's. A limit that LMI has never applied would refuse requests that a deployment serves today.
    Ignored(
        (),
        "LMI does not read it either; set OPTION_MAX_MODEL_LEN",
        variables=("MAX_INPUT_LENGTH", "MAX_INPUT_TOKENS", "MAX_TOTAL_TOKENS"),
    ),
    Ignored(
        (),
        "LMI does not read it either; vLLM plans batches by OPTION_MAX_ROLLING_BATCH_SIZE and "
        "OPTION_MAX_ROLLING_BATCH_PREFILL_TOKENS",
        variables=("MAX_BATCH_TOTAL_TOKENS", "MAX_WAITING_TOKENS", "WAITING_SERVED_RATIO"),
    ),
    Ignored(
        (),
        "LMI does not read it either; vLLM has no such limit",
        variables=("MAX_BEST_OF", "MAX_STOP_SEQUENCES", "MAX_TOP_N_TOKENS", "MAX_CLIENT_BATCH_SIZE"),
    ),
    Ignored((), "LMI does not read it either; set OPTION_DTYPE", variables=("DTYPE",)),
    Ignored((), "LMI does not read it either; set HF_MODEL_ID", variables=("MODEL_ID",)),
    Ignored((), "LMI does not read it either; set HF_REVISION", variables=("REVISION",)),
    Ignored((), "LMI does not read it either; set OPTION_TRUST_REMOTE_CODE", variables=("TRUST_REMOTE_CODE",)),
    Ignored((), "LMI does not read it either; set OPTION_HF_OVERRIDES", variables=("ROPE_SCALING", "ROPE_FACTOR")),
    Ignored(
        (),
        "LMI does not read it either; vLLM caches prefixes unless OPTION_ENABLE_PREFIX_CACHING=false",
        no_effect=ON,
        variables=("PREFIX_CACHING", "USE_PREFIX_CACHING"),
    ),
    Ignored(
        (),
        "LMI does not read it either; vLLM reads it from the model",
        variables=("GPTQ_BITS", "GPTQ_GROUPSIZE", "DISABLE_EXLLAMA"),
    ),
    # SageMaker's inference toolkits', which JumpStart and the SDK set for every image.
    Ignored(
        (),
        "LMI does not read it either; one engine serves all requests",
        no_effect=("1",),
        variables=("SAGEMAKER_MODEL_SERVER_WORKERS",),
    ),
    Ignored(
        (),
        "LMI does not read it either; set OPTION_PREDICT_TIMEOUT",
        variables=("ENDPOINT_SERVER_TIMEOUT", "SAGEMAKER_TS_RESPONSE_TIMEOUT", "SAGEMAKER_MODEL_SERVER_TIMEOUT"),
    ),
    Ignored(
        (),
        "LMI does not read it either; your code is model.py, or what OPTION_ENTRY_POINT names",
        variables=("SAGEMAKER_PROGRAM",),
    ),
    Ignored((), "chat completions need no switch", no_effect=ON, variables=("MESSAGES_API_ENABLED",)),
    Ignored((), "LMI does not read it either; set HF_REVISION", variables=("HF_MODEL_REVISION",)),
    # of the supervisor in AWS's vLLM container (its docs/vllm/configuration.md, read 2026-11-22)
    Ignored((), _RESTARTS, no_effect=ON, variables=("PROCESS_AUTO_RECOVERY",)),
    Ignored((), _RESTARTS, variables=("PROCESS_MAX_START_RETRIES",)),
    Ignored((), _REQUIREMENTS, no_effect=OFF, variables=("STANDARD_AUTO_INSTALL_REQ",)),
    Ignored((), _REQUIREMENTS, variables=("STANDARD_PIP_ARGS",)),
    # of Hugging Face's variant of it (scripts/docker/huggingface/vllm/hf_optimizations.sh there, read 2026-11-22)
    Ignored(
        (), "LMCache is not installed", no_effect=OFF, variables=("HF_ENABLE_LMCACHE", "HF_LMCACHE_*", "LMCACHE_*")
    ),
    Ignored(
        (),
        "set OPTION_LOAD_FORMAT=runai_streamer where its package is installed; models on S3 are downloaded in parallel",
        no_effect=OFF,
        variables=("HF_ENABLE_RUNAI_STREAMER",),
    ),
    Ignored(
        (),
        "nothing is tuned behind your back; set the variables themselves, such as HF_XET_HIGH_PERFORMANCE",
        no_effect=OFF,
        variables=(
            "HF_ENABLE_OPTIMIZATIONS",
            "HF_ENABLE_XET_HIGH_PERFORMANCE",
            "HF_ENABLE_TOKENIZERS_GUARD",
            "HF_ENABLE_EXPANDABLE_SEGMENTS",
        ),
    ),
)

# Variables that other libraries read.
PASSED_THROUGH = (
    PassedThrough(("SERVING_MODEL_STORE",), "The model directory, in place of /opt/ml/model."),
    PassedThrough(
        ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_XET_*"),
        "The Hub's client reads it.",
    ),
    PassedThrough(("TRANSFORMERS_*",), "transformers reads it."),
    PassedThrough(("VLLM_*",), "vLLM reads it."),
    PassedThrough(("SAFETENSORS_FAST_GPU",), "safetensors reads it."),
    PassedThrough(("CUDA_VISIBLE_DEVICES", "NCCL_*"), "CUDA and NCCL read it."),
    PassedThrough(("AWS_*",), "boto3 reads it, for models on S3."),
    PassedThrough(
        ("SAGEMAKER_SAFE_PORT_RANGE",), "SageMaker sets it: its hosts are recognised by it. Lumi has no second port."
    ),
    # In JumpStart's environments; no container of AWS reads them (djl-serving, deep-learning-containers, vLLM and
    # model_hosting_container_standards, read 2026-11-22), and AWS describes the second as the platform's limit:
    # its host unregisters the adapter that was idle for longest.
    PassedThrough(("SAGEMAKER_ENABLE_LOAD_AWARE",), "SageMaker's own host reads it, to distribute requests."),
    PassedThrough(
        ("SAGEMAKER_MAX_NUMBER_OF_ADAPTERS_IN_MEMORY",),
        "SageMaker's own host reads it, and unregisters adapters beyond it. OPTION_MAX_CPU_LORAS is the engine's limit.",
    ),
    PassedThrough(("SM_VLLM_*",), "As OPTION_*, by the names of vLLM's arguments: see docs/options.md."),
)
