"""What LMI documents and Lumi does not need: each name once, and what happens instead. See docs/lmi-options.md."""

from collections.abc import Mapping

from container.options.accepted import OFF, ON, Accepted, Heeded
from container.options.lmi_server import HEEDED, SERVER_KEYS, VARIABLES

__all__ = [
    "HEEDED",
    "OPTIONS",
    "SERVER_KEYS",
    "VARIABLES",
    "Accepted",
    "heeded",
    "option_names",
    "server_keys",
    "variables",
]

_ADAPTERS = "adapters are named by OPTION_LORA_MODULES, or lie in adapters/ of the model's directory"
_SESSIONS = "sessions are kept in memory; OPTION_SESSIONS_MAX_BYTES bounds it"
_ONE_ENGINE = "one engine serves all requests, and vLLM shares it among them"
_PLACEMENT = "vLLM places the model itself; OPTION_TENSOR_PARALLEL_DEGREE says on how many GPUs"
_PROCESSOR = "vLLM takes this from the model; OPTION_MM_PROCESSOR_KWARGS changes how pictures are processed"
_OTHER_ENGINE = "it belongs to another engine of LMI, and Lumi serves with vLLM"
_SPECULATION = "speculative decoding is set by OPTION_SPECULATIVE_CONFIG"
_MEMORY = "vLLM plans memory itself; see OPTION_GPU_MEMORY_UTILIZATION"
_FRONT_END = "it belongs to the HTTP server of `vllm serve`, which does not run here"

OPTIONS = (
    Accepted(("rolling_batch",), "Lumi always batches continuously in vLLM", moot=("auto", "vllm", "disable")),
    Accepted(("async_mode",), "Lumi always answers asynchronously", moot=ON),
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
    Accepted(("input_formatter",), "the function that has @input_formatter in your model.py is used"),
    Accepted(("enable_streaming",), 'a request streams when its own "stream" is true', moot=OFF),
    Accepted(("device_map",), _PLACEMENT, moot=("auto",)),
    Accepted(("device",), _PLACEMENT, moot=("auto", "gpu", "cuda")),
    Accepted(("load_on_devices",), _PLACEMENT),
    Accepted(("parallel_loading",), "one engine loads the model once", moot=OFF),
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
    Accepted(("mpi_mode",), "vLLM starts the processes that it needs", moot=OFF),
    Accepted(("bedrock_compat",), "the schema of Bedrock is not offered; answers have LMI's shape", moot=OFF),
    Accepted(("adapters",), _ADAPTERS),
    Accepted(("lora_extra_vocab_size", "long_lora_scaling_factors"), "vLLM no longer has it"),
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
            "enable_chunked_context",
            "preemption_mode",
            "num_lookahead_slots",
            "rope_scaling",
            "rope_theta",
            "override_neuron_config",
        ),
        "vLLM no longer has it",
    ),
    Accepted(("swap_space",), "vLLM no longer has it; OPTION_CPU_OFFLOAD_GB_PER_GPU is the nearest there is"),
    Accepted(("retry_threshold",), "a request that failed is not tried again by the server", moot=("0",)),
    Accepted(
        ("enable_reasoning",),
        "it is deprecated; OPTION_REASONING_PARSER alone switches reasoning on",
        moot=OFF,
    ),
    Accepted(
        ("draft_model_id", "speculative_draft_model", "speculative_model", "num_speculative_tokens", "spec_length"),
        _SPECULATION,
    ),
    Accepted(("lmcache_config_file", "lmcache_auto_config"), "LMCache is not installed", moot=OFF),
    Accepted(("enable_venv",), "Lumi runs in the Python of its image", moot=OFF),
    Accepted(
        ("python_executable", "pythonexecutable"),
        "Lumi runs in the Python of its image",
        variables=("PYTHON_EXECUTABLE",),
    ),
    Accepted(("model_dir",), "the model is named by HF_MODEL_ID or OPTION_MODEL_ID", moot=("/opt/ml/model",)),
    Accepted(("required_memory_mb", "reserved_memory_mb"), _MEMORY),
    Accepted(("translator_factory", "translatorfactory", "application"), "no Java runs here"),
    Accepted(
        ("image_processor", "image_processor_revision", "disable_image_processor"),
        _PROCESSOR,
    ),
    Accepted(("image_token_id",), "vLLM finds the token in the model's configuration"),
    Accepted(("allowed_local_media_path",), "file: addresses are refused; send the picture, or an https: address"),
    Accepted(("media_io_kwargs",), "Lumi decodes pictures itself, upright and in RGB"),
    Accepted(
        ("response_role", "max_log_len", "enable_log_requests", "disable_log_requests", "return_tokens_as_token_ids"),
        _FRONT_END,
    ),
    Accepted(("load_in_8bit", "load_in_4bit", "low_cpu_mem_usage", "disable_flash_attn"), _OTHER_ENGINE, moot=OFF),
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


def option_names() -> Mapping[str, Accepted]:
    """As they follow OPTION_, in small letters."""
    return {name: row for row in OPTIONS for name in row.names}


def server_keys() -> Mapping[str, Accepted]:
    """As they follow SERVING_, in small letters."""
    return {name: row for row in SERVER_KEYS for name in row.names}


def variables() -> Mapping[str, Accepted]:
    """Environment variables that are known by their whole name; in some a `*` stands for any text."""
    return {variable: row for row in (*OPTIONS, *SERVER_KEYS, *VARIABLES) for variable in row.variables}


def heeded() -> Mapping[str, Heeded]:
    """Environment variables that work without being an option's; in some a `*` stands for any text."""
    return {variable: row for row in HEEDED for variable in row.variables}
