"""Images that the model that ships knows, and requests about them to a live server."""

import base64
import io
import json

from demo.images import draw


def encode_image(color, shape, kind="PNG", **how):
    file = io.BytesIO()
    draw(color, shape, **how).save(file, kind)
    return file.getvalue()


def url(color, shape, kind="PNG", **how):
    return f"data:image/{kind.lower()};base64,{base64.b64encode(encode_image(color, shape, kind, **how)).decode()}"


def image(*what, **how):
    return {"type": "image_url", "image_url": {"url": url(*what, **how)}}


def post(live, body, path="/invocations", **headers):
    content = body if isinstance(body, bytes) else json.dumps({"temperature": 0, "max_tokens": 60, **body})
    return live.client.post(path, content=content, headers={"content-type": "application/json", **headers})
