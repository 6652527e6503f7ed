"""A checkpoint -> what the authors' code in transformers answers to each chat."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.image_utils import load_image

from handler.engines.chat_templates import family_template
from tests.models.answer import Answer, Answers
from tests.models.chats import CHATS, TOKENS, Message

TOP = 5


def reference_answers(directory: Path, chats: Sequence[str]) -> Answers:
    """Greedy answers in float32. Raises ValueError if a tensor of the model is missing in the checkpoint, or is left over."""
    processor = AutoProcessor.from_pretrained(directory)
    model, loaded = AutoModelForImageTextToText.from_pretrained(
        directory, dtype=torch.float32, output_loading_info=True
    )
    if wrong := {kind: names for kind, names in loaded.items() if names}:
        raise ValueError(f"transformers does not load {directory.name} as it is: {wrong}")
    # What the model's card writes, where a checkpoint ships no template.
    processor.chat_template = processor.chat_template or family_template(model.config)
    return {name: _answer(processor, model.eval(), CHATS[name]) for name in chats}


def _answer(processor: Any, model: Any, chat: list[Message]) -> Answer:
    try:
        inputs = _inputs(processor, copy.deepcopy(chat)).to(torch.float32)  # the pixels: Llama 4's are bfloat16
    except Exception as fault:  # noqa: BLE001  # whatever a template or processor raises is its refusal
        return Answer(fault=f"{type(fault).__name__}: {fault}")
    with torch.inference_mode():
        output = model.generate(
            **inputs, do_sample=False, max_new_tokens=TOKENS, output_logits=True, return_dict_in_generate=True
        )
    prompt = inputs["input_ids"][0].tolist()
    return Answer(prompt, output.sequences[0, len(prompt) :].tolist(), [_top(logits[0]) for logits in output.logits])


def _inputs(processor: Any, chat: list[Message]) -> Any:
    if processor.chat_template is not None:
        return processor.apply_chat_template(
            chat, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
    # A base model is given the texts, after its images.
    parts = [part for message in chat for part in message["content"]]
    images = [load_image(part["image_url"]["url"]) for part in parts if "image_url" in part]
    text = "".join(part["text"] for part in parts if "text" in part)
    return processor(images=images, text=processor.image_token * len(images) + text, return_tensors="pt")


def _top(logits: torch.Tensor) -> dict[int, float]:
    top = torch.log_softmax(logits.float(), dim=-1).topk(TOP)
    return dict(zip(top.indices.tolist(), top.values.tolist(), strict=True))
