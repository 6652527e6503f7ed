"""The tokens of a response, counted delta by delta -> `usage`."""

from collections import Counter
from typing import Any

from handler.engine import Delta, ReadPrompt


class Usage:
    """The tokens of one response. `prompts` has those that the model has read, by the number of the text."""

    def __init__(self) -> None:
        self.prompts: dict[int, ReadPrompt] = {}
        self._generated: Counter[int] = Counter()
        self._reasoning: dict[int, int] = {}

    def count(self, choice: int, delta: Delta) -> None:
        """Add the tokens of `delta`, which belongs to the choice number `choice`."""
        self._generated[choice] += len(delta.tokens) + delta.unlisted
        if delta.reasoning_tokens is not None:
            self._reasoning[choice] = delta.reasoning_tokens

    def so_far(self, text_index: int, choice: int) -> dict[str, Any]:
        """The usage of one choice until now."""
        return _sums(self.prompts[text_index].length, self._generated[choice])

    def reasoning_so_far(self, choice: int) -> dict[str, int] | None:
        """`completion_tokens_details` of one choice until now."""
        return {"reasoning_tokens": self._reasoning.get(choice, 0)} if self._reasoning else None

    def total(self) -> dict[str, Any]:
        """The usage of the whole response."""
        sums = _sums(sum(prompt.length for prompt in self.prompts.values()), self._generated.total())
        reasoning = {"reasoning_tokens": sum(self._reasoning.values())} if self._reasoning else None
        return {**sums, "prompt_tokens_details": self._prompt_details(), "completion_tokens_details": reasoning}

    def _prompt_details(self) -> dict[str, Any] | None:
        prompts = self.prompts.values()
        cached = [prompt.cached for prompt in prompts if prompt.cached is not None]
        cached_now = [prompt.cached_now for prompt in prompts if prompt.cached_now is not None]
        media: Counter[str] = Counter()
        for prompt in prompts:
            media.update(prompt.media)
        if not (cached or cached_now or media):
            return None
        return {
            "cached_tokens": sum(cached) if cached else None,
            "created_cache_tokens": sum(cached_now) if cached_now else None,
            "multimodal_tokens": dict(media) or None,
        }


def _sums(prompt: int, generated: int) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "total_tokens": prompt + generated, "completion_tokens": generated}
