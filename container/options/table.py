"""Every option once: name, aliases, type, default, meaning."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, PlainValidator, SecretStr

from container.options.declaration import Declared, Option, declared_options
from container.options.frozen import FrozenMapping, frozen, thawed
from container.options.parsers import lora_modules as adapters
from container.options.parsers import sagemaker_hosts, values
from container.options.parsers.engine_environment import engine_environment
from container.options.parsers.modality_limits import ModalityLimits, modality_limits
from container.options.parsers.values import LONGEST_RUN, MIB, Network
from handler.djl.entry_point import EntryPoint

MODEL, ENGINE, MEDIA, CHAT, SERVER = "Model", "Engine", "Images and other media", "Chat", "Server"
ADAPTERS, CODE = "LoRA adapters", "Your own code"
_VLLM = "vLLM's own"
_OF_MODEL = "the model's own"

FrozenItems = PlainValidator(frozen)


class Options(BaseModel):
    """The options in force. A field is an option where a Declared stands beside it."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    # The formatter would spread each option over ten lines.
    # fmt: off
    model_id: Annotated[str | None, Declared(
        MODEL, values.word,
        "The model: a Hugging Face id, an s3:// address or a local directory (relative to the model "
        "directory). Where nothing names one, /opt/ml/model is served if it, or the only directory in it that does, "
        "holds a config.json or params.json.",
        aliases=("model", "s3url", "s3_url"), overriding=("HF_MODEL_ID",), environment=("SERVING_LOAD_MODELS",),
        parse_as={"SERVING_LOAD_MODELS": values.loaded_model})] = None
    revision: Annotated[str | None, Declared(
        MODEL, values.word, "Branch, tag or commit of the model on the hub.",
        engine="revision", overriding=("HF_REVISION",), unset="main")] = None
    hf_token: Annotated[SecretStr | None, Declared(
        MODEL, values.secret, "Token for gated and private models on the hub. Never shown.",
        environment=("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"), secret=True)] = None
    trust_remote_code: Annotated[bool, Declared(
        MODEL, values.true_or_false, "Whether Python code that comes with the model may run.",
        engine="trust_remote_code", environment=("HF_MODEL_TRUST_REMOTE_CODE",))] = False
    served_model_name: Annotated[tuple[str, ...], Declared(
        MODEL, values.names,
        'Names that the field "model" of a request may have: one, several with commas, or a JSON list.',
        engine="served_model_name", unset="model_id")] = ()

    tensor_parallel_degree: Annotated[int | Literal["max"], Declared(
        ENGINE, values.degree, "GPUs that share each layer of the model; max takes all.",
        engine="tensor_parallel_size", environment=("TENSOR_PARALLEL_DEGREE", "SM_NUM_GPUS"))] = "max"
    pipeline_parallel_degree: Annotated[int, Declared(
        ENGINE, values.whole(1), "Groups of GPUs that share the model's layers among them.",
        engine="pipeline_parallel_size", environment=("PIPELINE_PARALLEL_DEGREE",))] = 1
    data_parallel_size: Annotated[int, Declared(
        ENGINE, values.whole(1), "Copies of the model, each on GPUs of its own, among which requests are shared.",
        engine="data_parallel_size")] = 1
    nnodes: Annotated[int, Declared(
        ENGINE, values.whole(1), "Machines that compute as one engine. Node 0 answers; the others only compute.",
        environment=("LWS_GROUP_SIZE", "DJL_CLUSTER_SIZE", "SM_HOSTS"),
        parse_as={"SM_HOSTS": sagemaker_hosts.host_count})] = 1
    node_rank: Annotated[int | None, Declared(
        ENGINE, values.whole(0), "Which of several machines this one is, from 0.",
        environment=("LWS_WORKER_INDEX", "JOB_COMPLETION_INDEX", "SM_CURRENT_HOST"),
        parse_as={"SM_CURRENT_HOST": sagemaker_hosts.host_rank}, unset="the number at the end of the host name")] = None
    master_addr: Annotated[str | None, Declared(
        ENGINE, values.word, "Address of node 0, where there are several.",
        environment=("LWS_LEADER_ADDRESS", "DJL_LEADER_ADDR", "SM_HOSTS"),
        parse_as={"SM_HOSTS": sagemaker_hosts.first_host})] = None
    master_port: Annotated[int, Declared(
        ENGINE, values.whole(1, 65534), "Port at which the machines meet on node 0; they take the next one as well.")] = 29501
    max_model_len: Annotated[int | None, Declared(
        ENGINE, values.context_length,
        "Context length in tokens, prompt and answer together: 8192, 32K, or auto for the "
        "longest that fits into memory.", engine="max_model_len", unset=_OF_MODEL)] = None
    max_rolling_batch_size: Annotated[int, Declared(
        ENGINE, values.whole(1), "Requests that are computed together.",
        engine="max_num_seqs", environment=("MAX_BATCH_SIZE",))] = 32
    max_rolling_batch_prefill_tokens: Annotated[int | None, Declared(
        ENGINE, values.tokens, "Tokens that one step of the engine computes at most.",
        engine="max_num_batched_tokens", environment=("MAX_BATCH_PREFILL_TOKENS",), unset=_VLLM)] = None
    dtype: Annotated[str, Declared(
        ENGINE, values.dtype, "Type to compute in: auto (as the model says), bf16, fp16, fp32 or vLLM's longer names.",
        engine="dtype")] = "auto"
    quantize: Annotated[str | None, Declared(
        ENGINE, values.word, "Quantization method of the weights, such as awq, gptq or fp8.",
        engine="quantization", environment=("HF_MODEL_QUANTIZE",), unset=_OF_MODEL)] = None
    gpu_memory_utilization: Annotated[float | None, Declared(
        ENGINE, values.fraction, "Share of each GPU's memory that vLLM may take, above 0 and up to 1.",
        engine="gpu_memory_utilization", environment=("CUDA_MEMORY_FRACTION",), unset=_VLLM)] = None
    cpu_offload_gb_per_gpu: Annotated[float | None, Declared(
        ENGINE, values.gibibytes, "GiB of weights per GPU that are kept in the machine's memory.",
        engine="cpu_offload_gb", unset=_VLLM)] = None
    enforce_eager: Annotated[bool, Declared(
        ENGINE, values.true_or_false, "Whether to compute without CUDA graphs: starts faster and answers slower. "
        "ENABLE_CUDA_GRAPHS says the opposite.",
        engine="enforce_eager", environment=("ENABLE_CUDA_GRAPHS",),
        parse_as={"ENABLE_CUDA_GRAPHS": values.inverted})] = False
    compile_cache_dir: Annotated[str | None, Declared(
        ENGINE, values.word, "Directory in which what is compiled for the model is kept, so that the next start loads it; a "
        "volume, which containers may share (docs/cold-start.md). vLLM's own variables, such as VLLM_CACHE_ROOT, go before it.",
        unset="the home directory, as vLLM does")] = None
    preload_engine: Annotated[bool, Declared(
        ENGINE, values.true_or_false, "Whether vLLM is imported once and its processes are forked from that one, which "
        "starts sooner; false has each of them import it, as `vllm serve` does.")] = True
    seed: Annotated[int | None, Declared(
        ENGINE, values.whole(0), "Seed of sampling where a request has none.", engine="seed", unset=_VLLM)] = None
    env: Annotated[Mapping[str, str], FrozenItems, Declared(
        ENGINE, engine_environment, "Further environment variables of the engine: NAME=value,OTHER=value or a JSON object. "
        "They win over the container's own.", unset="none")] = FrozenMapping()

    enable_lora: Annotated[bool, Declared(
        ADAPTERS, values.true_or_false, "Whether LoRA adapters are served beside the model. See docs/adapters.md.",
        engine="enable_lora")] = False
    max_loras: Annotated[int, Declared(
        ADAPTERS, values.whole(1), "Adapters that one batch may mix.", engine="max_loras")] = 4
    max_lora_rank: Annotated[int, Declared(
        ADAPTERS, adapters.lora_rank, "Largest rank that an adapter may have: 1, 8, 16, 32, 64, 128, 256, 320 or 512.",
        engine="max_lora_rank")] = 16
    max_cpu_loras: Annotated[int | None, Declared(
        ADAPTERS, values.whole(1), "Adapters that are kept in memory; others are read from disk when they are asked for.",
        engine="max_cpu_loras", unset="max_loras")] = None
    lora_modules: Annotated[tuple[adapters.LoraModule, ...], PlainValidator(adapters.named), Declared(
        ADAPTERS, adapters.named, 'Adapters that are served from the start, as name=path, {"name": "path"} or vLLM\'s objects. A path '
        "is a directory, an s3:// address or a Hugging Face id.", flag="lora_modules", unset="those in adapters/ of the model's directory")] = ()
    default_mm_loras: Annotated[tuple[adapters.LoraModule, ...], PlainValidator(adapters.named), Declared(
        ADAPTERS, adapters.named, 'Further such adapters, named by a kind of media: {"image": "path"} answers every request with images '
        "that names no adapter.")] = ()
    adapter_directories: Annotated[tuple[str, ...], Declared(
        ADAPTERS, adapters.directories, "Directories that adapters may be registered from at run time.",
        unset="the model's directory")] = ()

    limit_mm_per_prompt: Annotated[ModalityLimits, PlainValidator(modality_limits), Declared(
        MEDIA, modality_limits, 'How many images and other media one prompt may hold: {"image": 2} or '
        "image=2,video=1. A modality that is not named keeps 1.",
        engine="limit_mm_per_prompt")] = ModalityLimits()
    mm_processor_kwargs: Annotated[Mapping[str, Any] | None, FrozenItems, Declared(
        MEDIA, values.json_object, "Arguments of the model's processor of images, as a JSON object.",
        engine="mm_processor_kwargs")] = None
    image_placeholder_token: Annotated[str | None, Declared(
        MEDIA, values.placeholder,
        "Token that stands for an image in a prompt, such as <image>.",
        unset="the model's own; <image> with image_feature_size")] = None
    image_feature_size: Annotated[int | None, Declared(
        MEDIA, values.whole(1, LONGEST_RUN),
        "How often clients of vLLM 0.5 write the placeholder token for one image: so many of them side by side are one.",
        unset="once")] = None
    image_input_shape: Annotated[tuple[int, int] | None, Declared(
        MEDIA, values.image_shape,
        "Width and height of the largest image to plan memory for, as vLLM 0.5 had it: 1,3,height,width. The sizes of "
        "limit_mm_per_prompt say the same, and win.",
        unset=_OF_MODEL)] = None
    enable_mm_embeds: Annotated[bool, Declared(
        MEDIA, values.true_or_false,
        "Whether requests may send image embeddings in place of images. vLLM trusts their shape: a wrong one ends the "
        "engine. vLLM 0.5 said image_input_type: image_features (true) or pixel_values (false).",
        engine="enable_mm_embeds", aliases=("image_input_type",),
        parse_as={"image_input_type": values.image_input_type})] = False
    image_fetch_timeout: Annotated[float, Declared(
        MEDIA, values.seconds, "Seconds within which an image must have come from its address.",
        environment=("VLLM_IMAGE_FETCH_TIMEOUT", "APHRODITE_IMAGE_FETCH_TIMEOUT"))] = 10.0
    media_max_picture_bytes: Annotated[int, Declared(
        MEDIA, values.size, "Bytes that one encoded image may have. 64MiB and the like are understood.")] = 20 * MIB
    media_max_picture_pixels: Annotated[int, Declared(
        MEDIA, values.whole(1), "Pixels (width times height) that one image may have.",
        environment=("VLLM_MAX_IMAGE_PIXELS",))] = 50_000_000
    allowed_media_domains: Annotated[tuple[str, ...] | None, Declared(
        MEDIA, values.hosts,
        "The only hosts that images may be fetched from: exact names, with commas or as a JSON list.",
        engine="allowed_media_domains", unset="every public host")] = None
    media_allowed_networks: Annotated[tuple[Network, ...], Declared(
        MEDIA, values.networks,
        "Networks such as 10.0.0.0/8 that images may be fetched from although they are private, "
        "loopback or link-local.", unset="none: public addresses only")] = ()

    chat_template: Annotated[str | None, Declared(
        CHAT, values.chat_template,
        "Chat template in place of the model's: a path, an http(s) address, or the text itself.",
        flag="chat_template", unset=_OF_MODEL)] = None
    chat_template_content_format: Annotated[Literal["auto", "string", "openai"], Declared(
        CHAT, values.choice("auto", "string", "openai"),
        "How the chat template wants content: auto, string or openai (a list of parts).",
        flag="chat_template_content_format")] = "auto"
    enable_auto_tool_choice: Annotated[bool, Declared(
        CHAT, values.true_or_false, "Whether the model may choose to call tools. Needs tool_call_parser.",
        flag="enable_auto_tool_choice")] = False
    tool_call_parser: Annotated[str | None, Declared(
        CHAT, values.word, "vLLM's parser of the model's tool calls, such as hermes.", flag="tool_call_parser")] = None
    default_chat_template_kwargs: Annotated[Mapping[str, Any] | None, FrozenItems, Declared(
        CHAT, values.json_object, 'Values for the chat template that a request does not set, such as {"enable_thinking": false}.',
        flag="default_chat_template_kwargs")] = None
    reasoning_parser: Annotated[str | None, Declared(
        CHAT, values.word, "vLLM's parser that parts reasoning from the answer, such as qwen3.",
        engine="reasoning_parser")] = None

    entry_point: Annotated[str | None, Declared(
        CODE, values.word, "The Python file, or module, of the model directory that holds your own code.",
        aliases=("entrypoint",), environment=("DJL_ENTRY_POINT",), unset="model.py, if there is one")] = None
    handler: Annotated[str, Declared(
        CODE, values.word, "The function of it that answers requests in place of vLLM, if it is there.")] = "handle"
    install_requirements: Annotated[bool, Declared(
        CODE, values.true_or_false, "Whether a requirements.txt beside your code is installed before the start.")] = False

    host: Annotated[str, Declared(  # a container listens on all its addresses
        SERVER, values.word, "Address to listen on.",
        flag="host", environment=("SERVING_HOST", "SERVING_INFERENCE_ADDRESS"),
        parse_as={"SERVING_INFERENCE_ADDRESS": values.address_host})] = "0.0.0.0"  # noqa: S104
    port: Annotated[int, Declared(
        SERVER, values.whole(1, 65535), "Port to listen on.",
        flag="port", overriding=("SAGEMAKER_BIND_TO_PORT",),
        environment=("SERVING_PORT", "SERVING_INFERENCE_ADDRESS"),
        parse_as={"SERVING_INFERENCE_ADDRESS": values.address_port})] = 8080
    max_request_size: Annotated[int, Declared(
        SERVER, values.size, "Bytes that the body of a request may have. 64MiB and the like are understood.",
        overriding=("SAGEMAKER_MAX_REQUEST_SIZE", "SAGEMAKER_MAX_PAYLOAD_IN_MB"),
        environment=("SERVING_MAX_REQUEST_SIZE",),
        parse_as={"SAGEMAKER_MAX_PAYLOAD_IN_MB": values.mebibytes})] = 64 * MIB
    predict_timeout: Annotated[float, Declared(
        SERVER, values.seconds, "Seconds within which a request must be answered; of a stream, between two pieces.",
        overriding=("SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS",),
        environment=("PREDICT_TIMEOUT", "SERVING_CHUNKED_READ_TIMEOUT"))] = 240.0
    model_loading_timeout: Annotated[float, Declared(
        SERVER, values.seconds, "Seconds within which the model must be ready.",
        overriding=("SAGEMAKER_STARTUP_TIMEOUT",), environment=("MODEL_LOADING_TIMEOUT",))] = 1200.0
    job_queue_size: Annotated[int, Declared(
        SERVER, values.whole(1), "Requests that may wait or run at once; one more is refused.",
        environment=("SERVING_JOB_QUEUE_SIZE", "MAX_CONCURRENT_REQUESTS"))] = 1000
    output_formatter: Annotated[Literal["json", "jsonlines", "sse"] | None, Declared(
        SERVER, values.choice("json", "jsonlines", "sse",
                              json_chat_completion="json", jsonlines_chat_completion="jsonlines"),
        "Framing of streams on /invocations: json, jsonlines or sse.", unset="jsonlines, or as Accept asks")] = None
    tgi_compat: Annotated[bool, Declared(
        SERVER, values.true_or_false, "Whether the text-generation schema answers as TGI does: one input with a list of "
        "one, streams as server-sent events.")] = False
    enable_stateful_sessions: Annotated[bool, Declared(
        SERVER, values.true_or_false, "Whether clients may open sessions, in which an image that was shown once is "
        "named by its hash from then on.")] = True
    sessions_expiration: Annotated[float, Declared(
        SERVER, values.seconds, "Seconds from its opening on that a session is kept.")] = 1200.0
    sessions_max_bytes: Annotated[int, Declared(
        SERVER, values.size, "Bytes of encoded images that all sessions keep together.")] = 1024 * MIB
    enable_management: Annotated[bool, Declared(
        SERVER, values.true_or_false, "Whether requests may change what is served: register and remove adapters.")] = False
    api_key: Annotated[SecretStr | None, Declared(
        SERVER, values.secret, "Key that every request but /ping and /health must bring as a bearer token. Never shown.",
        secret=True)] = None
    error_compat: Annotated[Literal["none", "lmi"], Declared(
        SERVER, values.choice("none", "lmi"),
        "lmi answers 424 on /invocations where LMI does; none answers what fits.")] = "none"
    log_level: Annotated[Literal["debug", "info", "warning", "error", "critical"], Declared(
        SERVER, values.choice("debug", "info", "warning", "error", "critical",
                              warn="warning", trace="debug", fatal="critical"),
        "Least severity that is logged.", environment=("SERVING_LOG_LEVEL",))] = "info"

    # vLLM's further engine arguments as they were written, for vLLM's own parser.
    engine_arguments: Annotated[Mapping[str, str], FrozenItems] = FrozenMapping()
    # What user code reads: every setting as it was written, by LMI's names; and where that code is looked for.
    written: Annotated[Mapping[str, str], FrozenItems] = FrozenMapping()
    code_directories: tuple[Path, ...] = ()
    code: EntryPoint | None = None  # what was found there; a model in S3 may bring its own
    # fmt: on

    def vllm_arguments(self) -> dict[str, Any]:
        """vLLM's engine arguments among the options, typed, without those that are left to vLLM. The model itself and
        a `tensor_parallel_size` of max are left to the caller, who knows where the model is and how many GPUs are."""
        arguments = {option.declared.engine: getattr(self, option.name) for option in TABLE if option.declared.engine}
        if not self.enable_lora:
            arguments = {name: value for name, value in arguments.items() if "lora" not in name}
        unsaid = (None, "max", ())
        return {
            name: value.for_vllm() if isinstance(value, ModalityLimits) else thawed(value)
            for name, value in arguments.items()
            if value not in unsaid
        }


TABLE: tuple[Option, ...] = declared_options(Options)
