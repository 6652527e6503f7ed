"""The request that a loaded model has to answer before anyone is told that it is ready: an image, if it sees."""

import base64
import io
from typing import Any

from PIL import Image

from handler.errors import LumiError, StartError
from handler.images import RequestContext
from handler.service import Service

# Large enough for every processor's smallest image, small enough to cost nothing.
SIDE = 224


async def warm_up(service: Service, *, images_allowed: bool) -> None:
    """Send one request through everything that a client's will pass. Raises StartError with what went wrong."""
    image = service.card.supports_images and images_allowed
    try:
        await service.complete(service.parse(_payload(image=image)), RequestContext("warm-up"))
    except LumiError as fault:
        about = "about an image" if image else "of text"
        raise StartError(
            f"The model loaded, but it failed on a first request {about}: {fault} "
            "If its tokenizer has no chat template, name one with OPTION_CHAT_TEMPLATE."
        ) from fault


def _payload(*, image: bool) -> dict[str, Any]:
    content: list[dict[str, object]] = [{"type": "text", "text": "What is in the image?"}]
    if image:
        content.append({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_png()}"}})
    return {"messages": [{"role": "user", "content": content}], "max_tokens": 2, "temperature": 0}


def _png() -> str:
    file = io.BytesIO()
    Image.linear_gradient("L").resize((SIDE, SIDE)).convert("RGB").save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
