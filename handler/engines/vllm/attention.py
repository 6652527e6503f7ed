"""Where vLLM attends differently from a model's authors, which changes answers and raises no error.

Read in vLLM 0.32 on 2026-11-21: `is_mm_prefix_lm` names the models whose images attend in both directions
(transformers_utils/model_arch_config_convertor.py). On a GPU the selection of a backend drops those that cannot
(v1/attention/backend.py, `supports_mm_prefix`; Triton and FlexAttention can), and the runner gives the backend each image's range
(v1/worker/gpu_model_runner.py). The backend for CPUs ignores the ranges, and nothing checks that it knows them.
"""

from typing import Any

# Its authors attend in both directions over the whole prompt, text included.
_PREFIX_MODELS = frozenset({"paligemma"})


def attention_difference(model_config: Any, *, on_cpu: bool) -> str | None:
    """What differs, for the log; None if vLLM attends as the authors do."""
    if not model_config.is_mm_prefix_lm:
        return None
    family = model_config.hf_config.model_type
    if on_cpu:
        where = "on a CPU vLLM attends inside images causally"
    elif family in _PREFIX_MODELS:
        where = "vLLM attends in both directions inside images alone, and causally in the text of the prompt"
    else:
        return None
    return (
        f"{where}, unlike the authors of {family}: answers differ from theirs; "
        "OPTION_TRANSFORMERS_ENGINE=always serves the model with their code, more slowly"
    )
