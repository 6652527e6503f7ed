"""What OpenAI's two schemas, chat completions and text completions, have in common."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from handler.payload import adapter_choice as adapters


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAIRequest:
    """A request as the client asked it; its images are not loaded yet.

    `parameters` holds every field that is not of the schema's own, by its OpenAI or vLLM name, for the engine to validate.
    `ignored` holds the JSON paths of what has no meaning here, to be told to the client.
    """

    model: str | None
    stream: bool
    parameters: Mapping[str, Any]
    ignored: tuple[str, ...] = ()
    adapter: adapters.Choice | None = None
