"""The chat template of a model: messages in the form that it wants, and the text that it makes of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from handler.errors import OptionError, StartError

_PROBE = "what the template must repeat"


class Template:
    """`wants_parts` is whether message content is a list of parts, not a text; `takes_text` whether a text may stand in
    place of a list."""

    def __init__(self, processor: Any, text: str, *, content_format: str, variables: Mapping[str, Any]) -> None:
        self._processor = processor
        self._text = text
        self._variables = variables
        in_parts = self._repeats([{"type": "text", "text": _PROBE}])
        self.takes_text = self._repeats(_PROBE)
        if not in_parts and not self.takes_text:
            raise StartError(
                "The chat template does not render a message of the user; set another with OPTION_CHAT_TEMPLATE."
            )
        self.wants_parts = in_parts if content_format == "auto" else content_format == "openai"

    def message(self, role: str, content: Any, fields: Mapping[str, Any], placeholder: str | None) -> dict[str, Any]:
        """The message for the template. Where that takes no parts, `placeholder` stands for an image in the text."""
        if isinstance(content, str) and self.wants_parts and not self.takes_text:
            content = [{"type": "text", "text": content}]
        elif isinstance(content, list) and not self.wants_parts:
            content = "\n".join(part["text"] if part["type"] == "text" else placeholder or "" for part in content)
        return {**fields, "role": role, "content": content}

    def render(
        self, messages: list[dict[str, Any]], *, begins: bool, continues: bool, variables: Mapping[str, Any]
    ) -> str:
        """The prompt. `begins` an answer of the assistant, or `continues` the last message. Raises jinja2's errors."""
        text: str = self._processor.apply_chat_template(
            messages,
            chat_template=self._text,
            tokenize=False,
            add_generation_prompt=begins,
            continue_final_message=continues,
            **{**self._variables, **variables},
        )
        return text

    def _repeats(self, content: Any) -> bool:
        try:
            rendered = self.render([{"role": "user", "content": content}], begins=True, continues=False, variables={})
        except (jinja2.TemplateError, TypeError, ValueError, KeyError):
            return False
        # A list that is printed as such is not understood.
        return _PROBE in rendered and "'type'" not in rendered


def template_text(setting: str | None, processor: Any) -> str | None:
    """The text of the template that the operator has set, or of the model's own; None if there is none."""
    if setting is None:
        own = getattr(processor, "chat_template", None) or getattr(
            getattr(processor, "tokenizer", None), "chat_template", None
        )
        return own.get("default") if isinstance(own, dict) else own
    if "{" in setting:
        return setting
    try:
        return Path(setting).read_text()
    except OSError as fault:
        raise OptionError(f"OPTION_CHAT_TEMPLATE={setting!r} cannot be read: {fault.strerror}.") from fault
