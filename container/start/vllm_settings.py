"""Options -> VllmSettings."""

import urllib.request
from http.client import HTTPException

from container.model_store import Located
from container.nodes.membership import this_node
from container.options import Options
from container.start.model import served_names
from handler.engines.vllm import cuda
from handler.engines.vllm.degrees import check_nodes
from handler.engines.vllm.grammars.limits import GrammarLimits
from handler.engines.vllm.launch import VllmSettings
from handler.errors import StartError

FETCH_SECONDS = 10.0
CPU_BATCH_SIZE = 32  # LMI's default; vLLM's for a CPU, 128, makes each answer slow
MAX_BYTES = 2**20  # bytes; the longest templates in use have some 20,000


def vllm_settings(options: Options, model: Located, image_cache_gib: float | None = None) -> VllmSettings:
    """What vLLM is started with. `image_cache_gib` is the size of its cache of processed images, None for its default."""
    names = served_names(options, model)
    arguments = {
        **({} if cuda() is not None else {"max_num_seqs": CPU_BATCH_SIZE}),
        **({} if image_cache_gib is None else {"mm_processor_cache_gb": image_cache_gib}),
        "served_model_name": list(names),  # vLLM's metrics are labelled with the first
        # An image stays where its content part is, also in models whose template takes a single string.
        "interleave_mm_strings": True,
        **options.vllm_arguments(),
        **this_node(options).arguments,
        "model": model.source,
    }
    check_nodes({**arguments, **options.engine_arguments})
    if options.hf_token is not None:
        arguments["hf_token"] = options.hf_token.get_secret_value()
    return VllmSettings(
        arguments=arguments,
        names=names,
        texts=options.engine_arguments,
        described=options.engine_settings,
        chat_template=chat_template(options.chat_template),
        chat_template_content_format=options.chat_template_content_format,
        enable_auto_tool_choice=options.enable_auto_tool_choice,
        tool_call_parser=options.tool_call_parser,
        reasoning_parser=options.reasoning_parser,
        default_chat_template_kwargs=options.default_chat_template_kwargs or {},
        grammars=GrammarLimits(
            options.grammar_max_bytes, options.grammar_compile_timeout, options.grammar_compile_memory
        ),
    )


def chat_template(setting: str | None) -> str | None:
    """The text that an http(s) address gives. A path or a text is returned as it is: the engine reads it.

    Raises StartError where the address gives no text in time. The operator sets the address, so it may be private.
    """
    if setting is None or not setting.startswith(("http://", "https://")):
        return setting
    try:
        with urllib.request.urlopen(setting, timeout=FETCH_SECONDS) as response:  # noqa: S310  # http or https, see above
            text = response.read(MAX_BYTES + 1)
    except (OSError, HTTPException, ValueError) as fault:
        raise StartError(f"OPTION_CHAT_TEMPLATE={setting!r} could not be fetched: {fault}") from fault
    if len(text) > MAX_BYTES:
        raise StartError(
            f"OPTION_CHAT_TEMPLATE={setting!r} is larger than {MAX_BYTES} bytes, which is too large for a chat template."
        )
    try:
        return str(text, "utf-8")
    except UnicodeDecodeError as fault:
        raise StartError(f"OPTION_CHAT_TEMPLATE={setting!r} is not UTF-8 text.") from fault
