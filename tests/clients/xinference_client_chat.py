"""Xinference's client, unmodified, against a server: `python xinference_client_chat.py URL MODEL`, an image's URL on stdin."""

import json
import sys

from xinference_client import RESTfulClient as Client


def main(url: str, name: str, image: str) -> dict[str, object]:
    model = Client(url).get_model(name)
    question = {"type": "text", "text": "What is in the image?"}
    seen = [question, {"type": "image_url", "image_url": {"url": image}}]
    heard = [question, {"type": "audio", "audio_url": "https://example.com/glass.mp3"}]
    asked = [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": seen}]
    try:
        refused = model.chat([{"role": "user", "content": heard}])
    except RuntimeError as error:
        refused = str(error)
    return {
        "handle": type(model).__name__,
        "whole": model.chat(asked, generate_config={"temperature": 0}),
        "streamed": list(model.chat(asked, generate_config={"temperature": 0, "stream": True})),
        "audio": refused,
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], sys.stdin.read())))
