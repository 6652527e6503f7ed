"""Every option once: name, aliases, type, default, meaning."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, PlainValidator, SecretStr

from container.options.declaration import Declared, Option, declared_options
from container.options.frozen import FrozenMapping, freeze, thaw
from container.options.parsers import lora_modules as adapters
from container.options.parsers import sagemaker_hosts, sizes, values
from container.options.parsers.engine_environment import engine_environment
from container.options.parsers.modality_limits import ModalityLimits, modality_limits
from container.options.parsers.sizes import KIB, MIB
from container.options.parsers.values import MAX_IMAGE_TOKENS, Network
from handler.djl.entry_point import EntryPoint

MODEL, ENGINE, MEDIA, CHAT, SERVER = "Model", "Engine", "Images and other media", "Chat", "Server"
ADAPTERS, CODE = "LoRA adapters", "Your own code"
_VLLM = "vLLM's own"
_OF_MODEL = "the model's own"

FrozenItems = PlainValidator(freeze)


class Options(BaseModel):
    """The options in force. A field with a Declared is an option."""

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
        ENGINE, values.degree, "Number of GPUs that share each layer of the model; max uses all GPUs.",
        engine="tensor_parallel_size", environment=("TENSOR_PARALLEL_DEGREE", "SM_NUM_GPUS"))] = "max"
    pipeline_parallel_degree: Annotated[int, Declared(
        ENGINE, sizes.whole(1), "Number of pipeline stages, each of which computes a part of the model's layers.",
        engine="pipeline_parallel_size", environment=("PIPELINE_PARALLEL_DEGREE",))] = 1
    data_parallel_size: Annotated[int, Declared(
        ENGINE, sizes.whole(1), "Number of replicas of the model, each on its own GPUs. Requests are distributed among them.",
        engine="data_parallel_size")] = 1
    prefill_context_parallel_size: Annotated[int | None, Declared(
        ENGINE, sizes.whole(1), "Number of GPUs that share the prefill of one prompt.",
        engine="prefill_context_parallel_size", unset=_VLLM)] = None
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
        "memory.", engine="max_model_len", unset=_OF_MODEL)] = None
    max_rolling_batch_size: Annotated[int, Declared(
        ENGINE, sizes.whole(1), "Maximum number of requests in a batch.",
        engine="max_num_seqs", environment=("MAX_BATCH_SIZE",))] = 32
    max_rolling_batch_prefill_tokens: Annotated[int | None, Declared(
        ENGINE, sizes.parse_tokens, "Maximum number of tokens that one step of the engine computes.",
        engine="max_num_batched_tokens", environment=("MAX_BATCH_PREFILL_TOKENS",), unset=_VLLM)] = None
    dtype: Annotated[str, Declared(
        ENGINE, values.dtype, "Data type of the computation: auto (the model's own), bf16, fp16, fp32 or vLLM's longer names.",
        engine="dtype")] = "auto"
    quantize: Annotated[str | None, Declared(
        ENGINE, values.optional_word, "Quantization method of the weights, such as awq, gptq or fp8.",
        engine="quantization", environment=("HF_MODEL_QUANTIZE",), unset=_OF_MODEL)] = None
    gpu_memory_utilization: Annotated[float | None, Declared(
        ENGINE, values.fraction, "Fraction of each GPU's memory that vLLM may use, above 0 and up to 1.",
        engine="gpu_memory_utilization", environment=("CUDA_MEMORY_FRACTION",), unset=_VLLM)] = None
    cpu_offload_gb_per_gpu: Annotated[float | None, Declared(
        ENGINE, values.gibibytes, "GiB of weights per GPU that are offloaded to the machine's memory.",
        engine="cpu_offload_gb", unset=_VLLM)] = None
    kv_cache_memory_bytes: Annotated[int | None, Declared(
        ENGINE, sizes.parse_engine_bytes, "Bytes of the KV cache, per GPU: 8000000000, 8g (8 x 10^9) or 8G (8 x 2^30).",
        engine="kv_cache_memory_bytes", unset=_VLLM)] = None
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
        ENGINE, sizes.whole(0), "Seed for requests that have none.", engine="seed", unset=_VLLM)] = None
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

    limit_mm_per_prompt: Annotated[ModalityLimits, PlainValidator(modality_limits), Declared(
        MEDIA, modality_limits, 'Maximum number of images, videos and audio clips in one prompt: {"image": 2} or image=2,video=1. '
        "A modality that is not named keeps its 1.",
        engine="limit_mm_per_prompt")] = ModalityLimits()
    mm_processor_kwargs: Annotated[Mapping[str, Any] | None, FrozenItems, Declared(
        MEDIA, values.json_object, "Arguments of the model's multimodal processor, as a JSON object.",
        engine="mm_processor_kwargs")] = None
    image_placeholder_token: Annotated[str | None, Declared(
        MEDIA, values.placeholder,
        "Placeholder token of an image in a prompt, such as <image>.",
        unset="the model's own; <image> with image_feature_size")] = None
    image_feature_size: Annotated[int | None, Declared(
        MEDIA, sizes.whole(1, MAX_IMAGE_TOKENS),
        "Number of consecutive placeholder tokens that clients of vLLM 0.5 write for one image.",
        unset="1")] = None
    image_input_shape: Annotated[tuple[int, int] | None, Declared(
        MEDIA, values.image_shape,
        "Shape of the largest image to plan memory for, as in vLLM 0.5: 1,3,height,width. The sizes of "
        "limit_mm_per_prompt have the same meaning, and win.",
        unset=_OF_MODEL)] = None
    enable_mm_embeds: Annotated[bool, Declared(
        MEDIA, values.true_or_false,
        "Whether requests may send image embeddings in place of images. vLLM does not check their shape: a wrong shape ends "
        "the engine. In vLLM 0.5 this was image_input_type: image_features (true) or pixel_values (false).",
        engine="enable_mm_embeds", aliases=("image_input_type",),
        parse_as={"image_input_type": values.image_input_type})] = False
    image_fetch_timeout: Annotated[float, Declared(
        MEDIA, values.seconds, "Maximum number of seconds to fetch an image.",
        environment=("VLLM_IMAGE_FETCH_TIMEOUT", "APHRODITE_IMAGE_FETCH_TIMEOUT"))] = 10.0
    media_max_picture_bytes: Annotated[int, Declared(
        MEDIA, sizes.parse_bytes, "Maximum size of one encoded image in bytes. Units such as 64MiB are accepted.")] = 20 * MIB
    media_max_picture_pixels: Annotated[int, Declared(
        MEDIA, sizes.whole(1), "Maximum number of pixels (width times height) of one image.",
        environment=("VLLM_MAX_IMAGE_PIXELS",))] = 50_000_000
    media_max_picture_side: Annotated[int, Declared(
        MEDIA, sizes.whole(1), "Maximum number of pixels of one side of an image.")] = 32_768
    media_max_picture_aspect_ratio: Annotated[int, Declared(
        MEDIA, sizes.whole(1), "Maximum ratio of the longer side of an image to the shorter one.")] = 200
    allowed_media_domains: Annotated[tuple[str, ...] | None, Declared(
        MEDIA, values.hosts,
        "The only hosts from which images may be fetched: exact names, separated by commas or as a JSON list.",
        engine="allowed_media_domains", unset="every public host")] = None
    media_allowed_networks: Annotated[tuple[Network, ...], Declared(
        MEDIA, values.networks,
        "Private, loopback or link-local networks from which images may be fetched, such as 10.0.0.0/8.", unset="none: public addresses only")] = ()

    chat_template: Annotated[str | None, Declared(
        CHAT, values.chat_template,
        "Chat template to use in place of the model's: a path, an http(s) address, or the text itself.",
        flag="chat_template", unset=_OF_MODEL)] = None
    chat_template_content_format: Annotated[Literal["auto", "string", "openai"], Declared(
        CHAT, values.choice("auto", "string", "openai"),
        "Form of message content for the chat template: auto, string or openai (a list of parts).",
        flag="chat_template_content_format")] = "auto"
    enable_auto_tool_choice: Annotated[bool, Declared(
        CHAT, values.true_or_false, "Whether the model may decide to call tools. Requires tool_call_parser.",
        flag="enable_auto_tool_choice")] = False
    tool_call_parser: Annotated[str | None, Declared(
        CHAT, values.word, "vLLM's parser for the model's tool calls, such as hermes.", flag="tool_call_parser")] = None
    default_chat_template_kwargs: Annotated[Mapping[str, Any] | None, FrozenItems, Declared(
        CHAT, values.json_object, 'Default arguments of the chat template, such as {"enable_thinking": false}. A request may override them.',
        flag="default_chat_template_kwargs")] = None
    reasoning_parser: Annotated[str | None, Declared(
        CHAT, values.word, "vLLM's parser that separates reasoning from content, such as qwen3.",
        engine="reasoning_parser")] = None
    grammar_max_bytes: Annotated[int, Declared(
        CHAT, sizes.parse_bytes, "Maximum size in bytes of the grammar of a request (a JSON schema, a regular expression, choices and so "
        "on), and of all its tools together. Units such as 1MiB are accepted.")] = 256 * KIB
    grammar_compile_timeout: Annotated[float, Declared(
        CHAT, values.seconds, "Maximum number of seconds of computing that a grammar may take to compile.")] = 30.0
    grammar_compile_memory: Annotated[int, Declared(
        CHAT, sizes.parse_bytes, "Maximum memory in bytes that a grammar may take to compile. Up to three grammars are compiled at "
        "once.")] = 1024 * MIB

    entry_point: Annotated[str | None, Declared(
        CODE, values.word, "Python file or module with your own code, in the model directory.",
        aliases=("entrypoint",), environment=("DJL_ENTRY_POINT",), unset="model.py, if there is one")] = None
    handler: Annotated[str, Declared(
        CODE, values.word, "Function of your code that handles requests in place of vLLM, if it exists.")] = "handle"
    install_requirements: Annotated[bool, Declared(
        CODE, values.true_or_false, "Whether the requirements.txt beside your code is installed at the start.")] = False

    host: Annotated[str, Declared(  # a container listens on all its addresses
        SERVER, values.word, "Address to listen on.",
        flag="host", environment=("SERVING_HOST", "SERVING_INFERENCE_ADDRESS"),
        parse_as={"SERVING_INFERENCE_ADDRESS": values.address_host})] = "0.0.0.0"  # noqa: S104
    port: Annotated[int, Declared(
        SERVER, sizes.whole(1, 65535), "Port to listen on.",
        flag="port", overriding=("SAGEMAKER_BIND_TO_PORT",),
        environment=("SERVING_PORT", "SERVING_INFERENCE_ADDRESS"),
        parse_as={"SERVING_INFERENCE_ADDRESS": values.address_port})] = 8080
    max_request_size: Annotated[int, Declared(
        SERVER, sizes.parse_bytes, "Maximum size of a request body in bytes. Units such as 64MiB are accepted.",
        overriding=("SAGEMAKER_MAX_REQUEST_SIZE", "SAGEMAKER_MAX_PAYLOAD_IN_MB"),
        environment=("SERVING_MAX_REQUEST_SIZE",),
        parse_as={"SAGEMAKER_MAX_PAYLOAD_IN_MB": sizes.parse_mebibytes})] = 64 * MIB
    predict_timeout: Annotated[float, Declared(
        SERVER, values.seconds, "Maximum number of seconds until the response, or between two chunks of a stream.",
        overriding=("SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS",),
        environment=("PREDICT_TIMEOUT", "SERVING_CHUNKED_READ_TIMEOUT"))] = 240.0
    model_loading_timeout: Annotated[float, Declared(
        SERVER, values.seconds, "Maximum number of seconds until the model is ready.",
        overriding=("SAGEMAKER_STARTUP_TIMEOUT",), environment=("MODEL_LOADING_TIMEOUT",))] = 1200.0
    job_queue_size: Annotated[int | None, Declared(
        SERVER, sizes.whole(1), "Maximum number of requests that wait or run at once. Further requests are refused.",
        environment=("SERVING_JOB_QUEUE_SIZE", "MAX_CONCURRENT_REQUESTS"), unset="from memory and KV cache, up to 1000")] = None
    output_formatter: Annotated[Literal["json", "jsonlines", "sse"] | None, Declared(
        SERVER, values.choice("json", "jsonlines", "sse",
                              json_chat_completion="json", jsonlines_chat_completion="jsonlines"),
        "Format of streams on /invocations: json, jsonlines or sse.", unset="jsonlines, or the request's Accept")] = None
    tgi_compat: Annotated[bool, Declared(
        SERVER, values.true_or_false, "Whether responses of the text-generation schema have TGI's form: a list for a single "
        "input, and server-sent events for streams.")] = False
    enable_stateful_sessions: Annotated[bool, Declared(
        SERVER, values.true_or_false, "Whether clients may open sessions, in which a request may refer to an earlier image "
        "by its hash.")] = True
    sessions_expiration: Annotated[float, Declared(
        SERVER, values.seconds, "Number of seconds after which a session is closed.")] = 1200.0
    sessions_max_bytes: Annotated[int, Declared(
        SERVER, sizes.parse_bytes, "Maximum size in bytes of the encoded images of all sessions together.")] = 1024 * MIB
    enable_management: Annotated[bool, Declared(
        SERVER, values.true_or_false, "Whether requests may register and remove adapters.")] = False
    api_key: Annotated[SecretStr | None, Declared(
        SERVER, values.secret, "API key that every request except /ping and /health must send as a bearer token. It is never shown.",
        secret=True)] = None
    error_compat: Annotated[Literal["none", "lmi"], Declared(
        SERVER, values.choice("none", "lmi"),
        "lmi returns status 424 on /invocations where LMI does; none returns the status that describes the error.")] = "none"
    log_level: Annotated[Literal["debug", "info", "warning", "error", "critical"], Declared(
        SERVER, values.choice("debug", "info", "warning", "error", "critical",
                              warn="warning", trace="debug", fatal="critical"),
        "Minimum severity of log lines.", environment=("SERVING_LOG_LEVEL",))] = "info"

    # The text of engine arguments that Lumi has no option for; vLLM's own parser reads it.
    engine_arguments: Annotated[Mapping[str, str], FrozenItems] = FrozenMapping()
    # What user code reads: every setting as it was written, by LMI's names; and where to look for that code.
    written: Annotated[Mapping[str, str], FrozenItems] = FrozenMapping()
    code_directories: tuple[Path, ...] = ()
    code: EntryPoint | None = None  # what was found there; a model on S3 may have its own
    # fmt: on

    def vllm_arguments(self) -> dict[str, Any]:
        """vLLM's engine arguments among the options, typed, without those that are unset. The caller adds the model itself,
        and the `tensor_parallel_size` that max means, since it knows where the model is and how many GPUs there are."""
        arguments = {option.declared.engine: getattr(self, option.name) for option in TABLE if option.declared.engine}
        if not self.enable_lora:
            arguments = {name: value for name, value in arguments.items() if "lora" not in name}
        unset_values = (None, "max", ())
        return {
            name: value.for_vllm() if isinstance(value, ModalityLimits) else thaw(value)
            for name, value in arguments.items()
            if value not in unset_values
        }


TABLE: tuple[Option, ...] = declared_options(Options)
