"""Streams of transformers models, as LMI's StreamingUtils gives them."""

from collections.abc import Callable, Iterator
from threading import Thread
from typing import Any


class StreamingUtils:
    """`get_stream_generator(...)(model, tokenizer, inputs, device, **generate)` yields lists of new text, one text an
    input."""

    DEFAULT_MAX_NEW_TOKENS = 50

    @staticmethod
    def get_stream_generator(execution_engine: str) -> Callable[..., Iterator[list[str]]]:
        """Raises ValueError for an engine that is not transformers on this machine."""
        if execution_engine not in ("Accelerate", "DeepSpeed", "Python"):
            raise ValueError(f"{execution_engine} does not stream here; Accelerate (plain transformers) does.")
        return _generated

    @staticmethod
    def use_hf_default_streamer(model: Any, tokenizer: Any, inputs: Any, device: Any = None, **kwargs: Any) -> Any:
        """The texts of one input, as they are generated."""
        text = inputs[0] if isinstance(inputs, list) and len(inputs) == 1 else inputs
        if not isinstance(text, str):
            raise TypeError("The streamer of transformers takes one input; use get_stream_generator for several.")
        return _texts(model, tokenizer, text, device, kwargs)


def _generated(model: Any, tokenizer: Any, inputs: Any, device: Any = None, **kwargs: Any) -> Iterator[list[str]]:
    listed = [inputs] if isinstance(inputs, str) else list(inputs)
    # One after the other: transformers' streamer follows one sequence.
    for index, text in enumerate(listed):
        for piece in _texts(model, tokenizer, text, device, kwargs):
            yield [piece if other == index else "" for other in range(len(listed))]


def _texts(model: Any, tokenizer: Any, text: str, device: Any, kwargs: dict[str, Any]) -> Iterator[str]:
    from transformers import TextIteratorStreamer  # noqa: PLC0415  # seconds; only where it is used

    tokens = tokenizer(text, return_tensors="pt").to(device if device is not None else model.device)
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    asked = {"max_new_tokens": StreamingUtils.DEFAULT_MAX_NEW_TOKENS, **kwargs}
    failures: list[Exception] = []

    def generate() -> None:
        try:
            model.generate(**tokens, streamer=streamer, **asked)
        except Exception as failure:  # noqa: BLE001  # raised again where the stream is read
            failures.append(failure)
            streamer.end()

    thread = Thread(target=generate, daemon=True)
    thread.start()
    yield from (piece for piece in streamer if piece)
    thread.join()
    if failures:
        raise failures[0]
