"""Prompts -> what the model takes, by the model's own processor: chat template, image placeholders, BOS and pixels are its."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
import torch

from handler.engine import ChatPrompt, ImageEmbeds, Message, Prompt, PromptImage, Text
from handler.engines.placeholders import PlaceholderEscaper
from handler.engines.transformers.parameters import read_flag
from handler.engines.transformers.templates import Template
from handler.errors import InvalidRequest


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """A prompt as the model takes it: `tensors` are what the processor made, a batch of one, `ids` the tokens among it.
    `text` is the prompt after the chat template; None if the client sent token ids."""

    ids: tuple[int, ...]
    tensors: Mapping[str, Any]
    text: str | None = None
    images: int = 0


class Prompts:
    """Renders the prompts of one model. `placeholder` stands for an image in its texts; None where the processor itself puts
    the image before the text (fuyu). `vocabulary` is the number of ids that the model has embeddings for. To be used in one
    thread at a time."""

    def __init__(
        self,
        processor: Any,
        placeholder: str | None,
        template: Template | None,
        escaper: PlaceholderEscaper,
        *,
        max_model_len: int,
        vocabulary: int,
        arguments: Mapping[str, Any],
    ) -> None:
        self._processor = processor
        self._tokenizer = getattr(processor, "tokenizer", processor)
        self._placeholder = placeholder
        self._template = template
        self._escaper = escaper
        self._max_model_len = max_model_len
        self._vocabulary = vocabulary
        self._arguments = arguments
        self._processor_writes_bos = _writes_bos(processor, self._tokenizer.bos_token_id)

    def render(self, prompt: Prompt) -> list[Inputs]:
        """What the model takes, for each text. Raises InvalidRequest."""
        try:
            if isinstance(prompt, ChatPrompt):
                return [self._chat(prompt)]
            return [self._text(text, prompt.parameters) for text in prompt.texts]
        except (jinja2.TemplateError, ValueError, TypeError) as fault:
            # What a template raises on purpose, and what a processor says of a text and images that do not match.
            raise InvalidRequest(f"The prompt cannot be made of this request: {fault}") from fault

    def _chat(self, prompt: ChatPrompt) -> Inputs:
        assert self._template is not None  # noqa: S101  # `messages` have been refused before
        options = {name: prompt.parameters[name] for name in prompt.parameters if prompt.parameters[name] is not None}
        continues = "continue_final_message" in options and read_flag(options, "continue_final_message")
        begins = read_flag(options, "add_generation_prompt") if "add_generation_prompt" in options else not continues
        if begins and continues:
            raise InvalidRequest(
                "`continue_final_message` and `add_generation_prompt` exclude each other.",
                param="continue_final_message",
            )
        kwargs = options.get("chat_template_kwargs") or {}
        if not isinstance(kwargs, dict):
            raise InvalidRequest("`chat_template_kwargs` must be an object.", param="chat_template_kwargs")
        escape = self._escaper.run_of_texts()
        messages = [self._message(message, self._template, escape) for message in prompt.messages]
        text = self._template.render(
            messages, begins=begins, continues=continues, variables=self._escaper.escape_json(kwargs)
        )
        images = [part for message in prompt.messages for part in _images(message.content)]
        return self._process(text, images, _flag(options, "add_special_tokens"), "messages")

    def _message(self, message: Message, template: Template, escape: Callable[[str], str]) -> dict[str, Any]:
        content: Any = message.content
        if isinstance(content, str):
            content = escape(content)
        elif content is not None:
            further = (self._escaper.escape_json(message.part_fields.get(i, {})) for i in range(len(content)))
            content = [{**fields, **_part(part, escape)} for fields, part in zip(further, content, strict=True)]
        return template.message(message.role, content, self._escaper.escape_json(message.fields), self._placeholder)

    def _text(self, text: Text, parameters: Mapping[str, Any]) -> Inputs:
        if text.tokens is not None:
            self._check_ids(text.tokens)
            ids = torch.tensor([text.tokens])
            return Inputs(text.tokens, {"input_ids": ids, "attention_mask": torch.ones_like(ids)})
        images = _images(text.content)
        texts = self._escaper.escape_run(part for part in text.content if isinstance(part, str))
        pieces = [(self._placeholder or "") if isinstance(part, PromptImage) else next(texts) for part in text.content]
        return self._process("".join(pieces), images, _flag(parameters, "add_special_tokens"), "prompt")

    def _process(self, text: str, images: Sequence[PromptImage], special: bool | None, param: str) -> Inputs:
        arguments = {**self._arguments, "return_tensors": "pt"}
        if special is None and self._has_bos(text):
            special = False
        if special is not None:
            arguments["add_special_tokens"] = special
        if images:
            for image in images:
                image.image.load()
            arguments["images"] = [[image.image for image in images]]
        made = self._processor(text=[text], **arguments)
        tensors = {name: _as_tensor(name, value) for name, value in made.items()}
        tensors.setdefault("attention_mask", torch.ones_like(tensors["input_ids"]))
        ids = tuple(tensors["input_ids"][0].tolist())
        if len(ids) >= self._max_model_len:
            raise InvalidRequest(
                f"The prompt has {len(ids)} tokens, with those of {len(images)} image(s); the model's context is "
                f"{self._max_model_len}, of which the answer needs at least one. Send less text, fewer images or smaller ones.",
                param=param,
            )
        if not ids:
            raise InvalidRequest("The prompt is empty.", param=param)
        return Inputs(ids, tensors, text, len(images))

    def _has_bos(self, text: str) -> bool:
        """Whether the tokenizer need not add BOS: the text begins with it, as transformers asks of a rendered chat, or the
        processor writes it, as mllama's does."""
        bos = self._tokenizer.bos_token
        return bos is not None and (text.startswith(bos) or self._processor_writes_bos)

    def _check_ids(self, ids: Sequence[int]) -> None:
        if unknown := next((token for token in ids if token >= self._vocabulary), None):
            raise InvalidRequest(
                f"The model has no token {unknown}; it has {self._vocabulary}, from 0.", param="prompt"
            )
        if len(ids) >= self._max_model_len:
            raise InvalidRequest(
                f"The prompt has {len(ids)} tokens; the model's context is {self._max_model_len}, of which the answer needs "
                "at least one.",
                param="prompt",
            )


def _writes_bos(processor: Any, bos: int | None) -> bool:
    """Whether the processor puts a BOS token before a text, in addition to the tokenizer's."""
    try:
        begin = processor(text=["a"])["input_ids"][0][:2]
    except ValueError:  # PaliGemma's takes no text without an image
        return False
    return list(begin) == [bos, bos]


def _part(part: str | PromptImage | ImageEmbeds, escape: Callable[[str], str]) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": escape(part)}
    if isinstance(part, ImageEmbeds):
        raise InvalidRequest(
            "Image embeddings are not supported for this model, which transformers runs and not vLLM; send the image itself.",
            param=part.path,
        )
    return {"type": "image"}


def _images(content: str | Sequence[str | PromptImage | ImageEmbeds] | None) -> list[PromptImage]:
    return [part for part in content or () if isinstance(part, PromptImage)]


def _flag(options: Mapping[str, Any], name: str) -> bool | None:
    return None if options.get(name) is None else read_flag(options, name)


def _as_tensor(name: str, value: Any) -> Any:
    # Some processors give numpy arrays or lists where they were asked for tensors.
    return torch.as_tensor(value) if name in ("input_ids", "attention_mask") else value
