"""What LMI documents and Lumi does not need: each name once, and what happens instead. See docs/options.md."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

ANY = ("*",)
_OFF = ("false", "0", "no", "off")
_ON = ("true", "1", "yes", "on")


@dataclass(frozen=True, slots=True)
class Accepted:
    """Settings that are accepted and change nothing.

    `names` follow OPTION_, SERVING_ or stand in serving.properties; `variables` are whole names of environment
    variables. A value that matches `moot` asks for what happens anyway and causes no warning; one that matches
    `refused` ends the start. Both are patterns of fnmatch, in small letters.
    """

    names: tuple[str, ...]
    instead: str
    moot: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    def is_moot(self, text: str) -> bool:
        return any(fnmatchcase(text.strip().lower(), pattern) for pattern in self.moot)

    def is_refused(self, text: str) -> bool:
        return any(fnmatchcase(text.strip().lower(), pattern) for pattern in self.refused)


_ADAPTERS = "LoRA adapters are not served yet, only the model itself"
_OWN_CODE = "code of your own is not run yet; every request goes to the model as it is"
_SESSIONS = "sessions are kept in memory; OPTION_SESSIONS_MAX_BYTES bounds it"
_ONE_ENGINE = "one engine serves all requests, and vLLM shares it among them"
_PLACEMENT = "vLLM places the model itself; OPTION_TENSOR_PARALLEL_DEGREE says on how many GPUs"
_PROCESSOR = "vLLM takes this from the model; OPTION_MM_PROCESSOR_KWARGS changes how pictures are processed"
_OTHER_ENGINE = "it belongs to another engine of LMI, and Lumi serves with vLLM"
_SPECULATION = "speculative decoding is set by OPTION_SPECULATIVE_CONFIG"
_NO_JAVA = "no Java runs here"
_STATUS = "status codes are fixed; OPTION_ERROR_COMPAT=lmi answers as LMI does"
_TLS = "Lumi speaks plain HTTP; SageMaker or a proxy in front of it ends TLS"
_PORT = "OPTION_PORT and OPTION_HOST say where Lumi listens"
_MEMORY = "vLLM plans memory itself; see OPTION_GPU_MEMORY_UTILIZATION"
_FRONT_END = "it belongs to the HTTP server of `vllm serve`, which does not run here"
_ONE_MODEL = "Lumi serves one model; name it with HF_MODEL_ID"
_SECURITY = "Lumi has no secure mode; it runs no code of the model unless OPTION_TRUST_REMOTE_CODE=true"

OPTIONS = (
    Accepted(("rolling_batch",), "Lumi always batches continuously in vLLM", moot=("auto", "vllm")),
    Accepted(("async_mode",), "Lumi always answers asynchronously", moot=_ON),
    # The SageMaker SDK always sets OPTION_ENGINE=Python.
    Accepted(("engine",), "Lumi always serves with vLLM", moot=("python",)),
    Accepted(
        ("task",),
        "Lumi serves generation, and nothing else",
        moot=(
            "auto",
            "*generat*",
            "*text-to-text",
            "image-to-text",
            "visual-question-answering",
            "any-to-any",
            "conversational",
            "document-question-answering",
            "image-captioning",
        ),
        variables=("HF_TASK",),
        refused=(
            "*embed*",
            "*classif*",
            "feature-extraction",
            "*pooling*",
            "score",
            "reward",
            "sentence-similarity",
            "*rank*",
            "fill-mask",
            "transcription",
            "automatic-speech-recognition",
        ),
    ),
    Accepted(("entry_point", "entrypoint"), _OWN_CODE, moot=("djl_python.*",), variables=("DJL_ENTRY_POINT",)),
    Accepted(("handler",), _OWN_CODE, moot=("handle",)),
    Accepted(("input_formatter",), _OWN_CODE),
    Accepted(("enable_streaming",), 'a request streams when its own "stream" is true', moot=_OFF),
    Accepted(("device_map",), _PLACEMENT, moot=("auto",)),
    Accepted(("device",), _PLACEMENT, moot=("auto", "gpu", "cuda")),
    Accepted(("load_on_devices",), _PLACEMENT),
    Accepted(("parallel_loading",), "one engine loads the model once", moot=_OFF),
    Accepted(
        (
            "min_workers",
            "minworkers",
            "max_workers",
            "maxworkers",
            "gpu.min_workers",
            "gpu.max_workers",
            "cpu.min_workers",
            "cpu.max_workers",
        ),
        _ONE_ENGINE,
        moot=("1",),
        variables=("SAGEMAKER_NUM_MODEL_WORKERS",),
    ),
    Accepted(
        ("batch_size", "batchsize", "max_batch_delay", "maxbatchdelay"),
        "vLLM batches by itself; OPTION_MAX_ROLLING_BATCH_SIZE is its limit",
        moot=("1",),
    ),
    Accepted(("max_idle_time", "maxidletime"), _ONE_ENGINE),
    Accepted(("waiting_steps",), "vLLM schedules by itself"),
    Accepted(("mpi_mode",), "vLLM starts the processes that it needs", moot=_OFF),
    Accepted(("bedrock_compat",), "the schema of Bedrock is not offered; answers have LMI's shape", moot=_OFF),
    Accepted(("enable_lora",), _ADAPTERS, moot=_OFF),
    Accepted(
        (
            "max_loras",
            "max_lora_rank",
            "max_cpu_loras",
            "fully_sharded_loras",
            "lora_dtype",
            "lora_extra_vocab_size",
            "long_lora_scaling_factors",
            "default_mm_loras",
            "adapters",
            "lora_modules",
        ),
        _ADAPTERS,
    ),
    Accepted(("sessions_path", "sessions_s3url"), _SESSIONS),
    Accepted(("normalize",), "it concerns embeddings, and Lumi serves generation"),
    Accepted(
        (
            "num_scheduler_steps",
            "multi_step_stream_outputs",
            "max_seq_len_to_capture",
            "use_v2_block_manager",
            "worker_use_ray",
            "engine_use_ray",
            "guided_decoding_backend",
            "disable_mm_preprocessor_cache",
            "disable_log_requests",
            "enable_chunked_context",
            "preemption_mode",
            "num_lookahead_slots",
            "speculative_model",
            "num_speculative_tokens",
            "rope_scaling",
            "rope_theta",
            "override_neuron_config",
        ),
        "vLLM no longer has it",
    ),
    Accepted(("s3url", "s3_url"), "name the model by HF_MODEL_ID or OPTION_MODEL_ID=s3://bucket/prefix"),
    Accepted(("swap_space",), "vLLM no longer has it; OPTION_CPU_OFFLOAD_GB_PER_GPU is the nearest there is"),
    Accepted(("retry_threshold",), "a request that failed is not tried again by the server", moot=("0",)),
    Accepted(
        ("enable_reasoning",),
        "it is deprecated; OPTION_REASONING_PARSER alone switches reasoning on",
        moot=_OFF,
    ),
    Accepted(("draft_model_id", "speculative_draft_model", "speculative_model", "spec_length"), _SPECULATION),
    Accepted(("lmcache_config_file", "lmcache_auto_config"), "LMCache is not installed", moot=_OFF),
    Accepted(("enable_venv",), "Lumi runs in the Python of its image", moot=_OFF),
    Accepted(
        ("python_executable", "pythonexecutable"),
        "Lumi runs in the Python of its image",
        variables=("PYTHON_EXECUTABLE",),
    ),
    Accepted(("env",), "set these variables in the container's own environment"),
    Accepted(("model_dir",), "the model is named by HF_MODEL_ID or OPTION_MODEL_ID", moot=("/opt/ml/model",)),
    Accepted(("required_memory_mb", "reserved_memory_mb"), _MEMORY),
    Accepted(("translator_factory", "translatorfactory", "application"), _OWN_CODE),
    Accepted(
        (
            "image_input_type",
            "image_token_id",
            "image_input_shape",
            "image_feature_size",
            "image_processor",
            "image_processor_revision",
            "disable_image_processor",
        ),
        _PROCESSOR,
    ),
    Accepted(("allowed_local_media_path",), "file: addresses are refused; send the picture, or an https: address"),
    Accepted(("media_io_kwargs",), "Lumi decodes pictures itself, upright and in RGB"),
    Accepted(
        ("response_role", "max_log_len", "enable_log_requests", "disable_log_requests", "return_tokens_as_token_ids"),
        _FRONT_END,
    ),
    Accepted(("load_in_8bit", "load_in_4bit", "low_cpu_mem_usage", "disable_flash_attn"), _OTHER_ENGINE, moot=_OFF),
    Accepted(
        (
            "max_input_len",
            "max_output_len",
            "max_num_tokens",
            "use_custom_all_reduce",
            "batch_scheduler_policy",
            "kv_cache_free_gpu_mem_fraction",
            "max_tokens_in_paged_kv_cache",
        ),
        _OTHER_ENGINE,
    ),
)

# Keys of LMI's Java server: config.properties there, SERVING_<KEY> in the environment.
SERVER_KEYS = (
    Accepted(("inference_address", "management_address"), _PORT, moot=("http://0.0.0.0:8080",)),
    Accepted(("cluster_address",), "a model is served by one container"),
    Accepted(("model_store",), _ONE_MODEL, moot=("/opt/ml/model", "/opt/ml/model/")),
    Accepted(("load_models",), _ONE_MODEL, moot=("all",)),
    Accepted(("features",), "Lumi always serves with vLLM", moot=("vllm",)),
    Accepted(("fail_fast",), "Lumi always ends when the model cannot be served", moot=_ON),
    Accepted(("wait_model_loading",), "the port is bound at once, and /ping says 503 until the model answers"),
    Accepted(("allow_multi_status",), "/ping says 503 until the model answers", moot=_OFF),
    Accepted(
        ("health_check_override",),
        "/ping always tells whether the engine is alive",
        moot=_ON,
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
    Accepted(("prometheus",), "metrics have no switch", moot=_ON),
)

# Other variables that LMI, TGI or SageMaker know and people set.
VARIABLES = (
    Accepted(
        (),
        "HF_HOME says where models are kept, and OPTION_DOWNLOAD_DIR those from S3",
        variables=("SERVING_DOWNLOAD_DIR", "DJL_CACHE_DIR"),
    ),
    Accepted((), _ONE_MODEL, moot=_OFF, variables=("SAGEMAKER_MULTI_MODEL",)),
    Accepted((), "the request's own Accept decides", variables=("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT",)),
    Accepted((), _SECURITY, moot=_OFF, variables=("SAGEMAKER_SECURE_MODE",)),
    Accepted((), _SECURITY, variables=("SAGEMAKER_SECURITY_CONTROLS", "SAGEMAKER_UNTRUSTED_CHANNELS")),
    Accepted((), _OWN_CODE, moot=_OFF, variables=("ALLOW_REQUEST_HANDLER_OVERRIDE",)),
    Accepted((), _NO_JAVA, variables=("MAX_NETTY_BUFFER_SIZE",)),
    Accepted((), "a model is served by one container", moot=("1",), variables=("DJL_CLUSTER_SIZE",)),
    Accepted(
        (),
        "LMI does not read it either; set OPTION_MAX_MODEL_LEN",
        variables=("MAX_INPUT_LENGTH", "MAX_INPUT_TOKENS", "MAX_TOTAL_TOKENS"),
    ),
    Accepted((), "chat completions need no switch", moot=_ON, variables=("MESSAGES_API_ENABLED",)),
    Accepted((), "LMI does not read it either; set HF_REVISION", variables=("HF_MODEL_REVISION",)),
)


def option_names() -> Mapping[str, Accepted]:
    """As they follow OPTION_, in small letters."""
    return {name: row for row in OPTIONS for name in row.names}


def server_keys() -> Mapping[str, Accepted]:
    """As they follow SERVING_, in small letters."""
    return {name: row for row in SERVER_KEYS for name in row.names}


def variables() -> Mapping[str, Accepted]:
    """Environment variables that are known by their whole name."""
    return {variable: row for row in (*OPTIONS, *SERVER_KEYS, *VARIABLES) for variable in row.variables}
