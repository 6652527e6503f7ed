"""Every setting that LMI documents, by the name that its users write: for docs/lmi-options.md and the tests."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Section:
    """Settings of one kind. `names` are spelled as in the environment, or in a file without a prefix."""

    title: str
    names: tuple[str, ...]


def _options(text: str) -> tuple[str, ...]:
    return tuple(f"option.{name}" for name in text.split())


def _server_keys(text: str) -> tuple[str, ...]:
    return tuple(f"SERVING_{name.upper()}" for name in text.split())


_COMMON = """
    model_id model_dir s3url engine env rolling_batch async_mode entryPoint handler task tensor_parallel_degree
    pipeline_parallel_degree trust_remote_code enable_streaming max_rolling_batch_size
    max_rolling_batch_prefill_tokens dtype revision quantize output_formatter input_formatter waiting_steps mpi_mode
    device device_map draft_model_id spec_length tgi_compat bedrock_compat enable_lora lmcache_auto_config
    lmcache_config_file predict_timeout model_loading_timeout parallel_loading enable_venv pythonExecutable
    retry_threshold log_level
"""
_OF_VLLM = """
    max_num_batched_tokens quantization cpu_offload_gb_per_gpu cpu_offload_gb max_num_seqs tensor_parallel_size
    pipeline_parallel_size max_loras max_lora_rank max_cpu_loras fully_sharded_loras long_lora_scaling_factors
    default_mm_loras enable_auto_tool_choice tool_call_parser enable_reasoning reasoning_parser normalize chat_template
    chat_template_content_format enable_stateful_sessions sessions_path sessions_expiration sessions_s3url
"""
_OF_IMAGES = """
    limit_mm_per_prompt image_placeholder_token mm_processor_kwargs media_io_kwargs allowed_local_media_path
    allowed_media_domains interleave_mm_strings skip_mm_profiling mm_processor_cache_gb mm_processor_cache_type
    mm_encoder_tp_mode mm_encoder_attn_backend video_pruning_rate enable_mm_embeds language_model_only image_input_type
    image_token_id image_input_shape image_feature_size image_processor image_processor_revision
    disable_image_processor
"""
_PASSED_THROUGH = """
    max_model_len gpu_memory_utilization enforce_eager enable_prefix_caching enable_chunked_prefill kv_cache_dtype
    served_model_name load_format tokenizer_mode config_format tokenizer hf_overrides speculative_config
    compilation_config swap_space seed generation_config override_generation_config data_parallel_size
    enable_expert_parallel distributed_executor_backend structured_outputs_config download_dir
"""
# Of vLLM's own server or its AsyncEngineArgs: LMI drops these.
_DROPPED = "response_role max_log_len api_key enable_log_requests"
_FILE_KEYS = """
    engine minWorkers maxWorkers gpu.minWorkers gpu.maxWorkers cpu.minWorkers cpu.maxWorkers batch_size batchSize
    max_batch_delay maxBatchDelay max_idle_time maxIdleTime job_queue_size load_on_devices required_memory_mb
    reserved_memory_mb translatorFactory application
"""
_SERVER_KEYS = """
    inference_address management_address cluster_address job_queue_size batch_size max_batch_delay max_idle_time
    max_request_size chunked_read_timeout wait_model_loading allow_multi_status load_models model_store load_on_devices
    reserved_memory_mb number_of_netty_threads error_rate_wlm error_rate_server error_rate_model error_rate_any
    bad_request_error_http_code wlm_error_http_code throttle_error_http_code timeout_error_http_code
    server_error_http_code request_id_header_key cors_allowed_origin cors_allowed_methods cors_allowed_headers keystore
    keystore_pass private_key_file certificate_file model_url_pattern plugin_folder features min_workers max_workers
    retry_threshold fail_fast health_check_override prometheus opts download_dir
"""
_MODEL = """
    HF_MODEL_ID HF_TOKEN HF_REVISION HF_TASK HF_MODEL_QUANTIZE HF_MODEL_TRUST_REMOTE_CODE TENSOR_PARALLEL_DEGREE
    PIPELINE_PARALLEL_DEGREE SM_NUM_GPUS ARGS_*
"""
_TGI = """
    MAX_CONCURRENT_REQUESTS MAX_BATCH_PREFILL_TOKENS MAX_BATCH_SIZE ENABLE_CUDA_GRAPHS CUDA_MEMORY_FRACTION
    MAX_INPUT_LENGTH MAX_TOTAL_TOKENS MESSAGES_API_ENABLED HF_MODEL_REVISION
"""
_SAGEMAKER = """
    SAGEMAKER_NUM_MODEL_WORKERS SAGEMAKER_STARTUP_TIMEOUT SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS
    SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT SAGEMAKER_MODEL_SERVER_VMARGS SAGEMAKER_MULTI_MODEL SAGEMAKER_BIND_TO_PORT
    SAGEMAKER_SAFE_PORT_RANGE SAGEMAKER_MAX_REQUEST_SIZE SAGEMAKER_MAX_PAYLOAD_IN_MB SAGEMAKER_HEALTH_CHECK_OVERRIDE
    SAGEMAKER_SECURE_MODE SAGEMAKER_SECURITY_CONTROLS SAGEMAKER_UNTRUSTED_CHANNELS SM_TELEMETRY_LOG_REV_2022_12
    SM_NEO_* SAGEMAKER_ENABLE_LOAD_AWARE SAGEMAKER_MAX_NUMBER_OF_ADAPTERS_IN_MEMORY
"""
_VLLM_CONTAINER = """
    SAGEMAKER_ENABLE_STATEFUL_SESSIONS SAGEMAKER_SESSIONS_EXPIRATION SAGEMAKER_SESSIONS_PATH PROCESS_AUTO_RECOVERY
    PROCESS_MAX_START_RETRIES STANDARD_AUTO_INSTALL_REQ STANDARD_PIP_ARGS HF_ENABLE_LMCACHE HF_LMCACHE_*
    HF_ENABLE_RUNAI_STREAMER HF_ENABLE_OPTIMIZATIONS HF_ENABLE_XET_HIGH_PERFORMANCE HF_ENABLE_TOKENIZERS_GUARD
    HF_ENABLE_EXPANDABLE_SEGMENTS
"""
_PROCESS = """
    MODEL_LOADING_TIMEOUT PREDICT_TIMEOUT JAVA_OPTS DEFAULT_JVM_OPTS MAX_NETTY_BUFFER_SIZE
    ALLOW_REQUEST_HANDLER_OVERRIDE DJL_ENTRY_POINT DJL_CACHE_DIR PYTHON_EXECUTABLE DJL_CLUSTER_SIZE DJL_LEADER_ADDR
    DJL_WORKER_ADDR_FORMAT OPT_OUT_TRACKING LMI_DEBUG_NSYS_* HF_HOME HF_HUB_ENABLE_HF_TRANSFER VLLM_*
    SAFETENSORS_FAST_GPU NCCL_*
"""

SECTIONS = (
    Section("The model, in the environment", tuple(_MODEL.split())),
    Section("Options of every model", _options(_COMMON)),
    Section("Options of vLLM", _options(_OF_VLLM)),
    Section("Options of images and other media, of all versions of LMI", _options(_OF_IMAGES)),
    Section("Options that LMI passes to vLLM", _options(_PASSED_THROUGH)),
    Section("Options that LMI drops silently", _options(_DROPPED)),
    Section("Keys of serving.properties without a prefix", tuple(_FILE_KEYS.split())),
    Section("Keys of config.properties, as variables", _server_keys(_SERVER_KEYS)),
    Section("Variables of TGI that LMI translates, or that users expect it to", tuple(_TGI.split())),
    Section("Variables of SageMaker", tuple(_SAGEMAKER.split())),
    Section("Variables of AWS's vLLM container, beside SM_VLLM_*", tuple(_VLLM_CONTAINER.split())),
    Section("Variables of the process", tuple(_PROCESS.split())),
)
