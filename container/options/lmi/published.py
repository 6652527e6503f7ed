"""Options that AWS, its samples and djl-serving have published and vLLM has no use for: tests/published/deployments.json.

LMI with vLLM ignores them without a word, so they must not keep a deployment from starting. Read on 2026-11-22.
"""

from container.options.lmi.ignored import OFF, Ignored

_NEURON = "it is for LMI on Neuron, and Lumi serves with vLLM on GPUs"
_TENSORRT = "it is for LMI with TensorRT-LLM, and Lumi serves with vLLM"
_QUANTISER = "it is for LMI's partition script; serve a quantized model, or set OPTION_QUANTIZE=fp8_per_tensor"
_NO_JAVA = "it is for models that LMI's Java server runs, and Lumi serves with vLLM"
_OTHER_ENGINE = "it is for another engine of LMI, and Lumi serves with vLLM"
_SIZE = "LMI ignores it too; OPTION_MAX_ROLLING_BATCH_SIZE limits the size of batches"
_LENGTH = "LMI ignores it too; OPTION_MAX_MODEL_LEN is the context length"
_MISSPELT = "LMI ignores it too: it is misspelt for"

PUBLISHED = (
    Ignored(("paged_attention",), "vLLM always pages the KV cache", no_effect=("true",)),
    Ignored(("rolling_batch_type",), "Lumi always batches continuously in vLLM"),
    Ignored(("max_rolling_batch", "rolling_batch_size"), _SIZE),
    Ignored(
        ("max_new_tokens", "max_tokens"),
        "LMI ignores it too; each request says how many tokens it wants, or OPTION_OVERRIDE_GENERATION_CONFIG for all, "
        'as {"max_new_tokens": 100}',
    ),
    Ignored(("max_seq_len", "context_length"), _LENGTH),
    Ignored(("n_positions",), f"{_NEURON}; OPTION_MAX_MODEL_LEN is the context length"),
    Ignored(
        (
            "neuron_optimize_level",
            "load_split_model",
            "attention_layout",
            "collectives_layout",
            "context_length_estimate",
            "group_query_attention",
            "fuse_qkv",
            "enable_mixed_precision_accumulation",
            "use_stable_diffusion",
        ),
        _NEURON,
    ),
    Ignored(
        (
            "num_engine_workers",
            "num_checkpoint_workers",
            "max_draft_len",
            "gpt_model_version",
            "baichuan_model_version",
            "chatglm_model_version",
        ),
        _TENSORRT,
    ),
    Ignored(
        (
            "awq_block_size",
            "awq_zero_point",
            "awq_weight_bit_width",
            "awq_mm_version",
            "awq_ignore_layers",
            "fp8_scheme",
            "fp8_ignore",
            "calib_size",
        ),
        _QUANTISER,
    ),
    Ignored(
        (
            "enable_cuda_graph",
            "pretrained_model_name",
            "smoothquant_per_token",
            "smoothquant_per_channel",
            "max_sparsity",
            "max_splits",
            "decoding_strategy",
        ),
        _OTHER_ENGINE,
        no_effect=OFF,
    ),
    Ignored(("model_name",), "LMI ignores it too; OPTION_MODEL_ID or HF_MODEL_ID names the model"),
    Ignored(("load_on_device",), "vLLM places the model itself; OPTION_TENSOR_PARALLEL_DEGREE sets the number of GPUs"),
    Ignored(("gpu.reserved_memory_mb",), "vLLM plans memory itself; see OPTION_GPU_MEMORY_UTILIZATION"),
    Ignored(("log_request_metric", "metrics_aggregation"), "/metrics always has the figures of requests"),
    Ignored(("max_output_size",), "the size of a response is not limited", no_effect=("67108864",)),
    Ignored(
        (
            "add_output_formatter",
            "model_format",
            "trust_insecure_model_files",
            "skops_trusted_types",
            "map_location",
            "block_factory",
            "has_parameter",
            "translator",
            "extra_files",
            "inter_op_num_threads",
            "intra_op_num_threads",
            "execution_mode",
            "opt_level",
            "memory_pattern_optimization",
            "cpu_arena_allocator",
            "disable_per_session_threads",
            "custom_op_library",
            "ort_device",
            "include_token_types",
            "pooling",
            "width",
            "height",
            "center_crop",
            "apply_softmax",
        ),
        _NO_JAVA,
    ),
    # Misspelt in published deployments, which LMI has served all the same.
    Ignored(("tensor_parallel_degreel",), f"{_MISSPELT} tensor_parallel_degree"),
    Ignored(("max_rolling_batch_prefill_tokes",), f"{_MISSPELT} max_rolling_batch_prefill_tokens"),
    Ignored(("enable_chuncked_prefill",), f"{_MISSPELT} enable_chunked_prefill"),
)
