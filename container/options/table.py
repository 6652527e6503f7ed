"""Every option once: name, aliases, type, default, meaning."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import PlainValidator, SecretStr

from container.options.declaration import Declared, Option, declared_options
from container.options.engine_table import MODELS_OWN, EngineOptions, FrozenItems
from container.options.frozen import FrozenMapping, thaw
from container.options.parsers import sizes, values
from container.options.parsers.modality_limits import ModalityLimits, modality_limits
from container.options.parsers.sizes import KIB, MIB
from container.options.parsers.values import MAX_IMAGE_TOKENS, Network
from handler.djl.entry_point import EntryPoint

MEDIA, CHAT, CODE, SERVER = "Images and other media", "Chat", "Your own code", "Server"


class Options(EngineOptions):
    """The options in force. A field with a Declared is an option."""

    # fmt: off
    limit_mm_per_prompt: Annotated[ModalityLimits, PlainValidator(modality_limits), Declared(
        MEDIA, modality_limits, 'Maximum number of images in one prompt: {"image": 2} or image=2. Limits of videos and audio clips '
        "are accepted, and requests cannot have any.",
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
        unset=MODELS_OWN)] = None
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
        flag="chat_template", unset=MODELS_OWN)] = None
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
        "Format of streams on /invocations: json, jsonlines or sse. Where SM_VLLM_* alone configure the server, it is sse.", unset="jsonlines, or the request's Accept")] = None
    tgi_compat: Annotated[bool, Declared(
        SERVER, values.true_or_false, "Whether responses of the text-generation schema have TGI's form: a list for a single "
        "input, and server-sent events for streams.")] = False
    enable_stateful_sessions: Annotated[bool, Declared(
        SERVER, values.true_or_false, "Whether clients may open sessions, in which a request may refer to an earlier image "
        "by its hash.",
        environment=("SAGEMAKER_ENABLE_STATEFUL_SESSIONS",))] = True
    sessions_expiration: Annotated[float, Declared(
        SERVER, values.seconds, "Number of seconds after which a session is closed.",
        environment=("SAGEMAKER_SESSIONS_EXPIRATION",))] = 1200.0
    sessions_max_bytes: Annotated[int, Declared(
        SERVER, sizes.parse_bytes, "Maximum size in bytes of the encoded images of all sessions together.")] = 1024 * MIB
    enable_management: Annotated[bool | None, Declared(
        SERVER, values.true_or_false, "Whether requests may register and remove adapters, and change the level of the log.",
        unset="on a SageMaker host SageMaker may register adapters; elsewhere nobody")] = None
    api_key: Annotated[SecretStr | None, Declared(
        SERVER, values.secret, "API key that every request except /ping and /health must send as a bearer token. It is never shown.",
        secret=True)] = None
    public_metrics: Annotated[bool, Declared(
        SERVER, values.true_or_false, "Whether /metrics needs no API key, as SageMaker's detailed observability, which reads it, has none.")] = False
    error_compat: Annotated[Literal["none", "lmi"], Declared(
        SERVER, values.choice("none", "lmi"),
        'lmi returns status 424 with {"error": "...", "code": 424} on /invocations where LMI does; none returns the status that describes '
        "the error, in OpenAI's error object.")] = "none"
    strict: Annotated[bool, Declared(
        SERVER, values.true_or_false, "Whether an option that is not known ends the start. Otherwise only a near miss of a known "
        "name does, and a warning names the rest, which LMI ignores.")] = False
    log_level: Annotated[Literal["debug", "info", "warning", "error", "critical"], Declared(
        SERVER, values.choice("debug", "info", "warning", "error", "critical",
                              warn="warning", trace="debug", fatal="critical"),
        "Minimum severity of log lines.", environment=("SERVING_LOG_LEVEL",))] = "info"

    # The text of engine arguments that Lumi has no option for; vLLM's own parser reads it.
    engine_arguments: Annotated[Mapping[str, str], FrozenItems] = FrozenMapping()
    engine_settings: Annotated[Mapping[str, str], FrozenItems] = FrozenMapping()  # how each is set, for its faults
    # What user code reads: every setting as it was written, by LMI's names; and where to look for that code.
    written: Annotated[Mapping[str, str], FrozenItems] = FrozenMapping()
    code_directories: tuple[Path, ...] = ()
    code: EntryPoint | None = None  # what was found there; a model on S3 may have its own
    on_sagemaker: bool = False  # a host of a SageMaker endpoint: only SageMaker reaches the port
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
