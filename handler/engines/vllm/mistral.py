"""Messages with undecoded images -> messages that mistral_common takes.

The tokenizer of Mistral's own checkpoints writes an image's tokens into the prompt, for which it asks for the image. The
tokens depend on its size alone, and vLLM processes the image later, so it gets an empty one of the same size.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from PIL import Image
from vllm.tokenizers.mistral import MistralTokenizer

Message = Mapping[str, Any]


def accept_undecoded_images(tokenizer: Any) -> None:
    """Have a tokenizer of mistral_common take the parts that `requests` makes of images. Others stay as they are."""
    if not isinstance(tokenizer, MistralTokenizer):
        return
    apply = tokenizer.apply_chat_template

    def apply_chat_template(messages: Sequence[Message], *others: Any, **options: Any) -> Any:
        return apply([_message(message) for message in messages], *others, **options)

    tokenizer.apply_chat_template = apply_chat_template


def _message(message: Message) -> Message:
    if not isinstance(message.get("content"), list):
        return message
    return {**message, "content": [_part(part) for part in message["content"]]}


def _part(part: Mapping[str, Any]) -> Mapping[str, Any]:
    if part.get("type") != "image_pil":
        return part
    return {"type": "image_url", "image_url": {"url": _empty_image(part["image_pil"].media.size)}}


@lru_cache(maxsize=256)
def _empty_image(size: tuple[int, int]) -> str:
    file = io.BytesIO()
    Image.new("1", size).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
