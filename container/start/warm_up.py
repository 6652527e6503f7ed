"""The request that a loaded model must answer before it is ready: about an image, if the model takes images."""

import base64
import io
from typing import Any

from PIL import Image

from handler.errors import LumiError, StartError
from handler.images import RequestContext
from handler.service import Service

# pixels; not below the smallest image of any processor, and small enough to cost nothing
SIDE = 224
REQUEST_ID = "warm-up"


async def warm_up(service: Service, *, images_allowed: bool) -> None:
    """Answer one request as a client's is answered. Raises StartError with the reason if that fails."""
    with_image = service.card.supports_images and images_allowed
    try:
        await service.complete(service.parse(_payload(with_image=with_image)), RequestContext(REQUEST_ID))
    except LumiError as fault:
        about = "about an image" if with_image else "of text"
        raise StartError(
            f"The model loaded, but it failed on a first request {about}: {fault} "
            "If its tokenizer has no chat template, name one with OPTION_CHAT_TEMPLATE."
        ) from fault


def _payload(*, with_image: bool) -> dict[str, Any]:
    content: list[dict[str, object]] = [{"type": "text", "text": "What is in the image?"}]
    if with_image:
        content.append({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_encoded_image()}"}})
    return {"messages": [{"role": "user", "content": content}], "max_tokens": 2, "temperature": 0}


def _encoded_image() -> str:
    file = io.BytesIO()
    Image.linear_gradient("L").resize((SIDE, SIDE)).convert("RGB").save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
