"""The chat template of a loaded model, and whether its prompts get the tokenizer's special tokens."""

import logging
from dataclasses import dataclass
from typing import Any

from vllm.exceptions import VLLMClientError
from vllm.renderers import BaseRenderer, ChatParams
from vllm.renderers.chat_utils import ChatTemplateResolutionError
from vllm.renderers.hf import resolve_chat_template
from vllm.utils.mistral import is_mistral_tokenizer

from handler.engines.chat_templates import family_template, words_of

_USER = {"role": "user", "content": "hi"}
_CHATS = ((_USER,), ({"role": "system", "content": "hi"}, _USER))  # some templates ask for a system message

log = logging.getLogger("lumi.engine")


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """`text` is None where the checkpoint's own is used. `exists` is False for a base model, which has none.
    `adds_special_tokens` says whether the tokenizer's own, such as a BOS token, are added to what it renders. `words` are
    those of whichever is used."""

    text: str | None
    exists: bool = True
    adds_special_tokens: bool = False
    words: frozenset[str] = frozenset()


def find_chat_template(renderer: BaseRenderer, model_config: Any, given: str | None) -> ChatTemplate:
    """The operator's template (`given`), the checkpoint's, or that of its family, in this order."""
    rendered = _render(renderer, given)
    if rendered is None and (of_family := family_template(model_config.hf_config)) is not None:
        log.info(
            "the checkpoint has no chat template; that of the family %s is used", model_config.hf_config.model_type
        )
        given, rendered = of_family, _render(renderer, of_family)
    if rendered is None:
        return ChatTemplate(None, exists=False)
    # A family may say that its processor puts them where they belong: PaliGemma's BOS token stands after the image.
    may_add = model_config.is_multimodal_model and renderer.default_chat_tok_params.add_special_tokens
    adds = may_add and _lacks_bos(rendered, renderer.tokenizer)
    return ChatTemplate(given, adds_special_tokens=adds, words=_words(renderer.tokenizer, given, model_config))


def _words(tokenizer: Any, given: str | None, model_config: Any) -> frozenset[str]:
    if is_mistral_tokenizer(tokenizer):  # which has no template but code
        return frozenset()
    return words_of(resolve_chat_template(tokenizer, given, None, model_config=model_config))


def _lacks_bos(prompt: dict[str, Any], tokenizer: Any) -> bool:
    # The rule of transformers 5.19, ProcessorMixin.apply_chat_template: a prompt that begins with the BOS token has all
    # special tokens. vLLM never adds any, and LLaVA's templates do not begin with it. Without a processor, transformers
    # adds none either.
    text = prompt.get("prompt")
    if not isinstance(text, str):  # token ids, from Mistral's own tokenizer
        return False
    bos = getattr(tokenizer, "bos_token", None)
    return bos is None or not text.startswith(bos)


def _render(renderer: BaseRenderer, template: str | None) -> dict[str, Any] | None:
    """A short chat as a prompt of vLLM; None if there is no template, empty if it does not take this chat."""
    # Mistral's own tokenizer gives token ids alone.
    how = {"tokenize": is_mistral_tokenizer(renderer.tokenizer), "add_generation_prompt": True}
    params = ChatParams(chat_template=template, chat_template_kwargs=how)
    for chat in _CHATS:
        try:
            return dict(renderer.render_messages(list(chat), params)[1])
        except ChatTemplateResolutionError:
            return None
        except (ValueError, VLLMClientError) as fault:  # what vLLM raises for all errors of a template
            refusal: Exception = fault
    log.warning("the chat template renders no short chat (%s); no special tokens are added to chats", refusal)
    return {}
