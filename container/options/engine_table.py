"""The options of the model, the engine and the adapters: the first part of the table."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, PlainValidator, SecretStr

from container.options.declaration import Declared
from container.options.frozen import FrozenMapping, freeze
from container.options.parsers import lora_modules as adapters
from container.options.parsers import sagemaker_hosts, sizes, values
from container.options.parsers.engine_environment import engine_environment

MODEL, ENGINE, ADAPTERS = "Model", "Engine", "LoRA adapters"
VLLMS_OWN = "vLLM's own"
MODELS_OWN = "the model's own"

FrozenItems = PlainValidator(freeze)


class EngineOptions(BaseModel):
    """These options in force. A field with a Declared is an option."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    # The formatter would spread each option over ten lines.
    # fmt: off
    model_id: Annotated[str | None, Declared(
        MODEL, values.word,
        "The model: a Hugging Face id, an s3:// address or a local directory (relative to the model directory). If it is "
        "not set, the model in /opt/ml/model is served: the config.json or params.json is there or in exactly one of its "
        "directories.",
        aliases=("model", "s3url", "s3_url"), overriding=("HF_MODEL_ID",), environment=("SERVING_LOAD_MODELS",),
        parse_as={"SERVING_LOAD_MODELS": values.loaded_model})] = None
    revision: Annotated[str | None, Declared(
        MODEL, values.optional_word, "Branch, tag or commit of the model on the Hugging Face Hub.",
        engine="revision", overriding=("HF_REVISION",), unset="main")] = None
    hf_token: Annotated[SecretStr | None, Declared(
        MODEL, values.secret, "Token for gated and private models on the Hugging Face Hub. It is never shown.",
        environment=("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"), secret=True)] = None
    trust_remote_code: Annotated[bool, Declared(
        MODEL, values.true_or_false, "Whether Python code from the model repository may run.",
        engine="trust_remote_code", environment=("HF_MODEL_TRUST_REMOTE_CODE",))] = False
    served_model_name: Annotated[tuple[str, ...], Declared(
        MODEL, values.names,
        'Names that the field "model" of a request may have: one name, names separated by commas, or a JSON list.',
        engine="served_model_name", unset="model_id")] = ()

    tensor_parallel_degree: Annotated[int | Literal["max"], Declared(
        ENGINE, values.degree, "Number of GPUs that share each layer of the model; max uses all GPUs, or as many as the attention heads can be divided by.",
        engine="tensor_parallel_size", environment=("TENSOR_PARALLEL_DEGREE", "SM_NUM_GPUS", "NUM_SHARD"))] = "max"
    pipeline_parallel_degree: Annotated[int, Declared(
        ENGINE, sizes.whole(1), "Number of pipeline stages, each of which computes a part of the model's layers.",
        engine="pipeline_parallel_size", environment=("PIPELINE_PARALLEL_DEGREE",))] = 1
    data_parallel_size: Annotated[int, Declared(
        ENGINE, sizes.whole(1), "Number of replicas of the model, each on its own GPUs. Requests are distributed among them.",
        engine="data_parallel_size")] = 1
    prefill_context_parallel_size: Annotated[int | None, Declared(
        ENGINE, sizes.whole(1), "Number of GPUs that share the prefill of one prompt.",
        engine="prefill_context_parallel_size", unset=VLLMS_OWN)] = None
    nnodes: Annotated[int, Declared(
        ENGINE, sizes.whole(1), "Number of nodes that run one engine. Node 0 serves requests; the others only compute.",
        environment=("LWS_GROUP_SIZE", "DJL_CLUSTER_SIZE", "SM_HOSTS"),
        parse_as={"SM_HOSTS": sagemaker_hosts.host_count})] = 1
    node_rank: Annotated[int | None, Declared(
        ENGINE, sizes.whole(0), "Rank of this node, from 0.",
        environment=("LWS_WORKER_INDEX", "JOB_COMPLETION_INDEX", "SM_CURRENT_HOST"),
        parse_as={"SM_CURRENT_HOST": sagemaker_hosts.host_rank}, unset="the number at the end of the host name")] = None
    master_addr: Annotated[str | None, Declared(
        ENGINE, values.word, "Address of node 0, if there are several nodes.",
        environment=("LWS_LEADER_ADDRESS", "DJL_LEADER_ADDR", "SM_HOSTS"),
        parse_as={"SM_HOSTS": sagemaker_hosts.first_host})] = None
    master_port: Annotated[int, Declared(
        ENGINE, sizes.whole(1, 65534), "Port of node 0 that the nodes use to find each other. They also use the next port.")] = 29501
    max_model_len: Annotated[int | None, Declared(
        ENGINE, sizes.parse_context_length,
        "Context length in tokens, for prompt and completion together: 8192, 32K, or auto for the longest that fits into "
        "memory.", engine="max_model_len", unset=MODELS_OWN)] = None
    max_rolling_batch_size: Annotated[int | None, Declared(
        ENGINE, sizes.whole(1), "Maximum number of requests in a batch. Where only rolling_batch is set, to vllm or lmi-dist, it is 256, "
        "as in LMI.",
        engine="max_num_seqs", environment=("MAX_BATCH_SIZE",), unset="vLLM's own for the GPU (256, or 1024 from 70 GiB on but for A100), 32 on a CPU")] = None
    max_rolling_batch_prefill_tokens: Annotated[int | None, Declared(
        ENGINE, sizes.parse_tokens, "Maximum number of tokens that one step of the engine computes.",
        engine="max_num_batched_tokens", environment=("MAX_BATCH_PREFILL_TOKENS",), unset=VLLMS_OWN)] = None
    dtype: Annotated[str, Declared(
        ENGINE, values.dtype, "Data type of the computation: auto (the model's own), bf16, fp16, fp32 or vLLM's longer names.",
        engine="dtype")] = "auto"
    quantize: Annotated[str | None, Declared(
        ENGINE, values.optional_word, "Quantization method of the weights, such as awq, gptq or fp8.",
        engine="quantization", environment=("HF_MODEL_QUANTIZE", "QUANTIZE"), unset=MODELS_OWN)] = None
    gpu_memory_utilization: Annotated[float | None, Declared(
        ENGINE, values.fraction, "Fraction of each GPU's memory that vLLM may use, above 0 and up to 1.",
        engine="gpu_memory_utilization", aliases=("device_memory_utilization",), environment=("CUDA_MEMORY_FRACTION",), unset=VLLMS_OWN)] = None
    cpu_offload_gb_per_gpu: Annotated[float | None, Declared(
        ENGINE, values.gibibytes, "GiB of weights per GPU that are offloaded to the machine's memory.",
        engine="cpu_offload_gb", unset=VLLMS_OWN)] = None
    kv_cache_memory_bytes: Annotated[int | None, Declared(
        ENGINE, sizes.parse_engine_bytes, "Bytes of the KV cache, per GPU: 8000000000, 8g (8 x 10^9) or 8G (8 x 2^30).",
        engine="kv_cache_memory_bytes", unset=VLLMS_OWN)] = None
    enforce_eager: Annotated[bool, Declared(
        ENGINE, values.true_or_false, "Whether to compute without CUDA graphs, which starts faster and serves slower. "
        "ENABLE_CUDA_GRAPHS has the opposite sense.",
        engine="enforce_eager", environment=("ENABLE_CUDA_GRAPHS",),
        parse_as={"ENABLE_CUDA_GRAPHS": values.opposite})] = False
    compile_cache_dir: Annotated[str | None, Declared(
        ENGINE, values.word, "Directory of the compile cache, usually on a volume, which containers may share: the next start loads "
        "what this one compiles (docs/cold-start.md). vLLM's own variables, such as VLLM_CACHE_ROOT, win over it.",
        unset="a cache in the home directory, as in vLLM")] = None
    preload_engine: Annotated[bool, Declared(
        ENGINE, values.true_or_false, "Whether the processes of the engine are forked from one process that has imported vLLM, which "
        "starts sooner; with false each of them imports vLLM, as in `vllm serve`.")] = True
    engine_stall_timeout: Annotated[float | None, Declared(
        ENGINE, values.seconds_or_0, "Seconds without a step of the engine, while requests wait, that end it; 0: none.", unset="300, or predict_timeout if longer")] = None
    engine_restarts: Annotated[int, Declared(
        ENGINE, sizes.whole(0), "How often an engine that dies is started again in ten minutes, on a single node; then the server ends.")] = 5
    seed: Annotated[int | None, Declared(
        ENGINE, sizes.whole(0), "Seed for requests that have none.", engine="seed", unset=VLLMS_OWN)] = None
    transformers_engine: Annotated[Literal["auto", "always", "never"], Declared(
        ENGINE, values.choice("auto", "always", "never"),
        "Whether transformers runs the model in place of vLLM: auto does so for the families that vLLM no longer has "
        "(docs/transformers-engine.md).")] = "auto"
    env: Annotated[Mapping[str, str], FrozenItems, Declared(
        ENGINE, engine_environment, "More environment variables for the engine: NAME=value,OTHER=value or a JSON object. "
        "They win over the container's own.", unset="none")] = FrozenMapping()

    enable_lora: Annotated[bool, Declared(
        ADAPTERS, values.true_or_false, "Whether LoRA adapters can be served with the model. See docs/adapters.md.",
        engine="enable_lora")] = False
    max_loras: Annotated[int, Declared(
        ADAPTERS, sizes.whole(1), "Maximum number of adapters in one batch.", engine="max_loras")] = 4
    max_lora_rank: Annotated[int, Declared(
        ADAPTERS, adapters.lora_rank, "Maximum rank of an adapter: 1, 8, 16, 32, 64, 128, 256, 320 or 512.",
        engine="max_lora_rank")] = 16
    max_cpu_loras: Annotated[int | None, Declared(
        ADAPTERS, sizes.whole(1), "Number of adapters that are kept in memory. Others are read from disk when a request names them.",
        engine="max_cpu_loras", unset="max_loras")] = None
    lora_modules: Annotated[tuple[adapters.LoraModule, ...], PlainValidator(adapters.parse_lora_modules), Declared(
        ADAPTERS, adapters.parse_lora_modules, 'Adapters that are loaded at the start, as name=path, {"name": "path"} or vLLM\'s objects. A path '
        "is a directory, an s3:// address or a Hugging Face id.", flag="lora_modules", unset="those in adapters/ of the model's directory")] = ()
    default_mm_loras: Annotated[tuple[adapters.LoraModule, ...], PlainValidator(adapters.parse_lora_modules), Declared(
        ADAPTERS, adapters.parse_lora_modules, 'Adapters by modality: the adapter of {"image": "path"} is used for every request that has images and '
        "names no adapter.")] = ()
    adapter_directories: Annotated[tuple[str, ...], Declared(
        ADAPTERS, adapters.directories, "Directories from which adapters may be registered at run time.",
        unset="the model's directory")] = ()
    # fmt: on
