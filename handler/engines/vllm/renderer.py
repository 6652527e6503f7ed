"""vLLM's renderer of prompts, extended for the images of raw prompts, and for pixels that are freed early."""

from typing import Any

from vllm.renderers.online_renderer import OnlineRenderer

from handler.engines.vllm.requests import ChatRequest, TextRequest


class Renderer(OnlineRenderer):  # type: ignore[misc]  # vllm is untyped here
    """Releases the images of a prompt as soon as vLLM has processed them, while the response is still generated."""

    async def render_chat(self, request: ChatRequest, **options: Any) -> Any:
        try:
            return await super().render_chat(request, **options)
        finally:
            request.prompt.release_images()

    async def render_completion(self, request: TextRequest, **options: Any) -> Any:
        try:
            return await self.preprocess_cmpl(request, request.prompts, **options)
        finally:
            request.source.release_images()
