"""TransformersSettings: what this engine is started with. Importing this does not import transformers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Sampling parameters that a model's generation_config.json may set, and the operator over it.
OVERRIDES = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")


@dataclass(frozen=True, slots=True)
class TransformersSettings:
    """`names` are what requests may call the model. `max_rows` completions are decoded together. `seed` begins
    the random numbers of requests that have none, `generation_overrides` the operator's defaults, which win over the model's. `without_effect` are the options that are set and mean nothing here, to be logged."""

    names: tuple[str, ...]
    revision: str | None = None
    token: str | None = field(default=None, repr=False)
    cache_directory: str | None = None
    trust_remote_code: bool = False
    dtype: str = "auto"
    max_model_len: int | None = None
    max_rows: int = 32
    seed: int | None = None
    chat_template: str | None = None
    chat_template_content_format: str = "auto"
    default_chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    processor_arguments: Mapping[str, Any] = field(default_factory=dict)
    generation_overrides: Mapping[str, Any] = field(default_factory=dict)
    without_effect: tuple[str, ...] = ()
