"""The request that a loaded model must answer before it is ready: about an image, if the model takes images; a chat, if
it has a chat template."""

import base64
import io
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from handler.errors import InvalidRequest, LumiError, StartError
from handler.images import RequestContext
from handler.service import Service

log = logging.getLogger("lumi")

# pixels; not below the smallest image of any processor, and small enough to cost nothing
SIDE = 224
REQUEST_ID = "warm-up"
QUESTION = "What is in the image?"


async def warm_up(service: Service, *, images_allowed: bool) -> None:
    """Answer one request as a client's is answered, but without the user's formatters, which may know only their own
    clients' requests. A raw prompt takes the place of a chat that the template refuses. Raises StartError with the reason
    if that fails."""
    with_image = service.card.supports_images and images_allowed
    images = [f"data:image/png;base64,{_encoded_image()}"] if with_image else []
    raw = {"prompt": QUESTION, "images": images}
    try:
        try:
            await _ask(service, _chat(images) if service.card.has_chat_template else raw)
        except InvalidRequest as refusal:
            if not service.card.has_chat_template:
                raise
            # TranslateGemma's wants the codes of two languages in each part.
            log.info("the first request is a raw prompt, since an ordinary chat is refused: %s", refusal)
            await _ask(service, raw)
    except LumiError as fault:
        about = "about an image" if with_image else "of text"
        raise StartError(f"The model loaded, but it failed on a first request {about}: {fault}") from fault


async def _ask(service: Service, prompt: Mapping[str, Any]) -> None:
    request = service.parse({**prompt, "max_tokens": 2, "temperature": 0})
    await service.complete(request, RequestContext(REQUEST_ID))


def _chat(images: Sequence[str]) -> dict[str, Any]:
    parts = [{"type": "image_url", "image_url": {"url": image}} for image in images]
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": QUESTION}, *parts]}]}


def _encoded_image() -> str:
    file = io.BytesIO()
    Image.linear_gradient("L").resize((SIDE, SIDE)).convert("RGB").save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
