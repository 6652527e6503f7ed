"""Streams of transformers models, as in LMI's StreamingUtils."""

from collections.abc import Callable, Iterator
from threading import Thread
from typing import Any


class StreamingUtils:
    """`get_stream_generator(...)(model, tokenizer, inputs, device, **generate)` yields lists of new text, one per input."""

    DEFAULT_MAX_NEW_TOKENS = 50

    @staticmethod
    def get_stream_generator(execution_engine: str) -> Callable[..., Iterator[list[str]]]:
        """The generator function. Raises ValueError for an engine other than transformers on this machine."""
        if execution_engine not in ("Accelerate", "DeepSpeed", "Python"):
            raise ValueError(
                f"{execution_engine} is not available for streams here; use Accelerate (plain transformers)."
            )
        return _stream_inputs

    @staticmethod
    def use_hf_default_streamer(model: Any, tokenizer: Any, inputs: Any, device: Any = None, **kwargs: Any) -> Any:
        """The text of one input as it is generated."""
        text = inputs[0] if isinstance(inputs, list) and len(inputs) == 1 else inputs
        if not isinstance(text, str):
            raise TypeError("The streamer of transformers takes one input; use get_stream_generator for several.")
        return _stream_text(model, tokenizer, text, device, kwargs)


def _stream_inputs(model: Any, tokenizer: Any, inputs: Any, device: Any = None, **kwargs: Any) -> Iterator[list[str]]:
    texts = [inputs] if isinstance(inputs, str) else list(inputs)
    # Sequentially: transformers' streamer takes one sequence.
    for index, text in enumerate(texts):
        for chunk in _stream_text(model, tokenizer, text, device, kwargs):
            yield [chunk if other == index else "" for other in range(len(texts))]


def _stream_text(model: Any, tokenizer: Any, text: str, device: Any, kwargs: dict[str, Any]) -> Iterator[str]:
    from transformers import TextIteratorStreamer  # noqa: PLC0415  # takes seconds, only where it is used

    tokens = tokenizer(text, return_tensors="pt").to(device if device is not None else model.device)
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    arguments = {"max_new_tokens": StreamingUtils.DEFAULT_MAX_NEW_TOKENS, **kwargs}
    failures: list[Exception] = []

    def generate() -> None:
        try:
            model.generate(**tokens, streamer=streamer, **arguments)
        except Exception as failure:  # noqa: BLE001  # raised again by the reader of the stream
            failures.append(failure)
            streamer.end()

    thread = Thread(target=generate, daemon=True)
    thread.start()
    yield from (chunk for chunk in streamer if chunk)
    thread.join()
    if failures:
        raise failures[0]
