"""Options that LMI documents and Lumi ignores: each name once, and what happens instead. See docs/lmi-options.md."""

from collections.abc import Mapping

from container.options.lmi.ignored import OFF, ON, Ignored, PassedThrough
from container.options.lmi.published import PUBLISHED
from container.options.lmi.server import PASSED_THROUGH, SERVER_KEYS, VARIABLES
from container.options.lmi.vllm_server import VLLM_SERVER

__all__ = [
    "OPTIONS",
    "PASSED_THROUGH",
    "SERVER_KEYS",
    "VARIABLES",
    "Ignored",
    "option_names",
    "passed_through",
    "server_keys",
    "variables",
]

_ADAPTERS = "set OPTION_LORA_MODULES, or put adapters into adapters/ of the model's directory"
_SESSIONS = (
    "the server keeps sessions in memory, and OPTION_SESSIONS_MAX_BYTES limits their size; only the SessionManager of a "
    "model.py uses the path"
)
_ONE_ENGINE = "one engine serves all requests"
_PLACEMENT = "vLLM places the model itself; OPTION_TENSOR_PARALLEL_DEGREE sets the number of GPUs"
_PROCESSOR = "vLLM reads this from the model; OPTION_MM_PROCESSOR_KWARGS changes how images are processed"
_OTHER_ENGINE = "it is an option of another engine of LMI, and Lumi serves with vLLM"
_SPECULATION = "set OPTION_SPECULATIVE_CONFIG for speculative decoding"
_MEMORY = "vLLM plans memory itself; see OPTION_GPU_MEMORY_UTILIZATION"

OPTIONS = (
    Ignored(
        ("rolling_batch",),
        "Lumi always batches continuously in vLLM",
        no_effect=("auto", "vllm", "lmi-dist", "disable"),
    ),
    Ignored(("async_mode",), "Lumi always runs asynchronously", no_effect=ON),
    # The SageMaker SDK always sets OPTION_ENGINE=Python.
    Ignored(("engine",), "Lumi always serves with vLLM", no_effect=("python",)),
    Ignored(
        ("task",),
        "Lumi serves generation only",
        no_effect=(
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
    Ignored(("input_formatter",), "the function with @input_formatter in your model.py is used"),
    Ignored(("enable_streaming",), 'a request streams if its "stream" is true', no_effect=OFF),
    Ignored(("device_map",), _PLACEMENT, no_effect=("auto",)),
    Ignored(("device",), _PLACEMENT, no_effect=("auto", "gpu", "cuda")),
    Ignored(("load_on_devices",), _PLACEMENT),
    Ignored(("parallel_loading",), "one engine loads the model once", no_effect=OFF),
    Ignored(
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
        no_effect=("1",),
        variables=("SAGEMAKER_NUM_MODEL_WORKERS",),
    ),
    Ignored(
        ("batch_size", "batchsize", "max_batch_delay", "maxbatchdelay"),
        "vLLM forms batches itself; OPTION_MAX_ROLLING_BATCH_SIZE limits their size",
        no_effect=("1",),
    ),
    Ignored(("max_idle_time", "maxidletime"), _ONE_ENGINE),
    Ignored(("waiting_steps",), "vLLM schedules requests itself"),
    Ignored(("mpi_mode",), "vLLM starts the processes that it needs", no_effect=OFF),
    Ignored(("bedrock_compat",), "the Bedrock schema is not supported; responses have LMI's form", no_effect=OFF),
    Ignored(("adapters",), _ADAPTERS, no_effect=("adapters", "adapters/")),
    Ignored(("lora_extra_vocab_size", "long_lora_scaling_factors"), "vLLM no longer has it"),
    Ignored(("sessions_path", "sessions_s3url"), _SESSIONS, variables=("SAGEMAKER_SESSIONS_PATH",)),
    Ignored(("normalize",), "it is for embeddings, and Lumi serves generation"),
    Ignored(
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
    Ignored(("swap_space",), "vLLM no longer has it; OPTION_CPU_OFFLOAD_GB_PER_GPU is the closest option"),
    Ignored(("retry_threshold",), "the server does not retry failed requests", no_effect=("0",)),
    Ignored(
        ("enable_reasoning",),
        "it is deprecated; OPTION_REASONING_PARSER alone enables reasoning",
        no_effect=OFF,
    ),
    Ignored(
        ("draft_model_id", "speculative_draft_model", "speculative_model", "num_speculative_tokens", "spec_length"),
        _SPECULATION,
    ),
    Ignored(("lmcache_config_file", "lmcache_auto_config"), "LMCache is not installed", no_effect=OFF),
    Ignored(("enable_venv",), "Lumi runs with the Python of its image", no_effect=OFF),
    Ignored(
        ("python_executable", "pythonexecutable"),
        "Lumi runs with the Python of its image",
        variables=("PYTHON_EXECUTABLE",),
    ),
    Ignored(("model_dir",), "set HF_MODEL_ID or OPTION_MODEL_ID to the model", no_effect=("/opt/ml/model",)),
    Ignored(("required_memory_mb", "reserved_memory_mb"), _MEMORY),
    Ignored(("translator_factory", "translatorfactory", "application"), "there is no Java server"),
    Ignored(
        ("image_processor", "image_processor_revision", "disable_image_processor"),
        _PROCESSOR,
    ),
    Ignored(("image_token_id",), "vLLM reads the token from the model's configuration"),
    Ignored(("allowed_local_media_path",), "file: addresses are refused; send the image itself, or an https: address"),
    Ignored(
        ("media_io_kwargs",), "Lumi decodes images itself, applies their EXIF orientation and converts them to RGB"
    ),
    Ignored(("load_in_8bit", "load_in_4bit", "low_cpu_mem_usage", "disable_flash_attn"), _OTHER_ENGINE, no_effect=OFF),
    Ignored(
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
    *VLLM_SERVER,
    *PUBLISHED,
)


def option_names() -> Mapping[str, Ignored]:
    """By the name after OPTION_, in small letters."""
    return {name: row for row in OPTIONS for name in row.names}


def server_keys() -> Mapping[str, Ignored]:
    """By the name after SERVING_, in small letters."""
    return {name: row for row in SERVER_KEYS for name in row.names}


def variables() -> Mapping[str, Ignored]:
    """By the whole name of an environment variable, in which a `*` stands for any text."""
    return {variable: row for row in (*OPTIONS, *SERVER_KEYS, *VARIABLES) for variable in row.variables}


def passed_through() -> Mapping[str, PassedThrough]:
    """Environment variables that have an effect without an option; a `*` stands for any text."""
    return {variable: row for row in PASSED_THROUGH for variable in row.variables}
