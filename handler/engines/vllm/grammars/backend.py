"""The backend that compiles all grammars, chosen once at the start.

vLLM's `auto` chooses for each request, but an engine keeps to the first backend that it has used: one request with a grammar
of another decides for all that follow, whose grammars it refuses or reads otherwise than they were validated.
"""

from typing import Any

from vllm.config import VllmConfig
from vllm.utils.mistral import is_mistral_tokenizer

XGRAMMAR, GUIDANCE = "xgrammar", "guidance"


def choose_backend(config: VllmConfig, tokenizer: Any) -> None:
    """Put a backend in place of `auto`. xgrammar alone has the structural tags of tools; the grammars that vLLM makes of the
    tools of Mistral's models name special tokens, which guidance alone knows there."""
    outputs = config.structured_outputs_config
    if outputs.backend == "auto":
        outputs.backend = GUIDANCE if is_mistral_tokenizer(tokenizer) and tokenizer.is_tekken else XGRAMMAR
