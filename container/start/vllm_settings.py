"""Options -> what vLLM is started with."""

import urllib.request
from http.client import HTTPException

from container.model_store import Located
from container.nodes.membership import this_node
from container.options import Options
from container.start.settings import served_names
from handler.engines.vllm.degrees import check_nodes
from handler.engines.vllm.settings import VllmSettings
from handler.errors import StartError

FETCH_SECONDS = 10.0
LARGEST = 2**20  # bytes; the longest templates in use have some 20,000


def vllm_settings(options: Options, model: Located) -> VllmSettings:
    """What vLLM is started with."""
    names = served_names(options, model)
    arguments = {
        "served_model_name": list(names),  # vLLM's metrics are labelled with the first
        # An image stands where its content part does, in models whose template takes one string as well.
        "interleave_mm_strings": True,
        **options.vllm_arguments(),
        **options.engine_arguments,
        **this_node(options).arguments,
        "model": model.source,
    }
    check_nodes(arguments)
    if options.hf_token is not None:
        arguments["hf_token"] = options.hf_token.get_secret_value()
    return VllmSettings(
        arguments=arguments,
        names=names,
        chat_template=chat_template(options.chat_template),
        chat_template_content_format=options.chat_template_content_format,
        enable_auto_tool_choice=options.enable_auto_tool_choice,
        tool_call_parser=options.tool_call_parser,
        reasoning_parser=options.reasoning_parser,
        default_chat_template_kwargs=options.default_chat_template_kwargs or {},
    )


def chat_template(setting: str | None) -> str | None:
    """The text behind an http(s) address; a path or a text as it is, which the engine reads itself.

    Raises StartError where the address does not give a text in time. The address is the operator's, so it may be a
    private one.
    """
    if setting is None or not setting.startswith(("http://", "https://")):
        return setting
    try:
        with urllib.request.urlopen(setting, timeout=FETCH_SECONDS) as answer:  # noqa: S310  # http or https, see above
            text = answer.read(LARGEST + 1)
    except (OSError, HTTPException, ValueError) as fault:
        raise StartError(f"OPTION_CHAT_TEMPLATE={setting!r} could not be fetched: {fault}") from fault
    if len(text) > LARGEST:
        raise StartError(f"OPTION_CHAT_TEMPLATE={setting!r} is larger than {LARGEST} bytes, which no chat template is.")
    try:
        return str(text, "utf-8")
    except UnicodeDecodeError as fault:
        raise StartError(f"OPTION_CHAT_TEMPLATE={setting!r} is not a text in UTF-8.") from fault
