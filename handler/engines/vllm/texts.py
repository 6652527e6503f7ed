"""TextPrompt -> vLLM's CompletionRequest.

OpenAI's schema of completions has no images, vLLM's prompts do: the request carries both, and the renderer takes the
prompts. Images travel as in chat completions, undecoded and named by their content hash.
"""

from typing import Any

from pydantic import PrivateAttr
from vllm.entrypoints.openai.completion.protocol import CompletionRequest

from handler.engine import PromptImage, Text, TextPrompt
from handler.engines.vllm.placeholders import Neutraliser, Placeholder
from handler.engines.vllm.requests import GUIDED, current, held


class TextRequest(CompletionRequest):  # type: ignore[misc]  # vllm is untyped here
    """vLLM's request with the prompts that its renderer is to take in place of `prompt`."""

    _prompts: list[Any] = PrivateAttr(default_factory=list)

    @property
    def prompts(self) -> list[Any]:
        return self._prompts

    def release_images(self) -> None:
        """Let the pixels go: vLLM has made its tensors of them."""
        for prompt in self._prompts:
            for media in prompt.get("multi_modal_data", {}).get("image", ()):
                media.release()


def known_text_parameters() -> frozenset[str]:
    """The fields of a text completion that have a meaning here."""
    return (frozenset(CompletionRequest.model_fields) | GUIDED.keys()) - {"prompt_embeds", "suffix"}


def text_request(prompt: TextPrompt, texts: Neutraliser, placeholder: Placeholder) -> TextRequest:
    """Raises pydantic's ValidationError or vLLM's errors for parameters that vLLM refuses. `placeholder(n)` is how the
    model's prompts mark their n-th image."""
    request: TextRequest = TextRequest.model_validate(
        {
            **current(prompt.parameters),
            "prompt": "-",  # must be there, and is not looked at again
            "model": prompt.model,
            "stream": prompt.stream,
            "request_id": prompt.request_id,
        }
    )
    request._prompts = [_prompt(text, texts, placeholder) for text in prompt.texts]  # noqa: SLF001  # ours
    return request


def _prompt(text: Text, texts: Neutraliser, placeholder: Placeholder) -> dict[str, Any]:
    if text.tokens is not None:
        return {"prompt_token_ids": list(text.tokens)}
    images = [part for part in text.content if isinstance(part, PromptImage)]
    words = texts.run(part for part in text.content if isinstance(part, str))
    numbers = iter(range(1, len(images) + 1))
    written = "".join(
        (placeholder(next(numbers)) or "") if isinstance(part, PromptImage) else next(words) for part in text.content
    )
    prompt: dict[str, Any] = {"prompt": written}
    if images:
        prompt["multi_modal_data"] = {"image": [held(image) for image in images]}
        prompt["multi_modal_uuids"] = {"image": [image.digest for image in images]}
    return prompt
