"""Where the chat template of a model comes from."""

from handler.checkpoint.files import ModelFiles, read_json

_FILES = ("chat_template.jinja", "chat_template.json")
_CONFIGURATIONS = ("processor_config.json", "tokenizer_config.json")


def template_source(files: ModelFiles, option: str | None, fallback: str | None) -> str | None:
    """What vLLM would take it from, the first that there is: the option, a file of its own, the processor, the tokenizer, the
    `fallback` for its family."""
    if option is not None:
        return "OPTION_CHAT_TEMPLATE"
    sizes = files.sizes()
    for name in _FILES:
        if name in sizes:
            return name
    return next((name for name in _CONFIGURATIONS if read_json(files, name).get("chat_template")), fallback)
