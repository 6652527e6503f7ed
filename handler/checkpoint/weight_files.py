"""The files of a model -> those with the weights that vLLM reads."""

import fnmatch
from collections.abc import Callable, Collection, Iterable

INDEX = "model.safetensors.index.json"
_IGNORED = "original/*"  # the weights again, in Meta's own format

# The first pattern that matches a file is used: model_executor/model_loader/default_loader.py, _prepare_weights.
_WEIGHTS = {
    "auto": ("consolidated*.safetensors", "*.safetensors", "*.bin", "*.pt"),
    "hf": ("*.safetensors", "*.bin", "*.pt"),
    "safetensors": ("*.safetensors",),
    "fastsafetensors": ("*.safetensors",),
    "instanttensor": ("*.safetensors",),
    "mistral": ("consolidated*.safetensors",),
    "npcache": ("*.bin",),
    "pt": ("*.pt",),
}


def weights(
    names: Collection[str], load_format: str, weights_in_index: Callable[[str], Iterable[str]]
) -> Iterable[str]:
    """Those of `names` that are weights that vLLM reads; none for a format that is not in the table above."""
    top = [name for name in names if "/" not in name and not fnmatch.fnmatch(name, _IGNORED)]
    for pattern in _WEIGHTS.get(load_format, ()):
        found = fnmatch.filter(top, pattern)
        if found and pattern == "*.safetensors" and INDEX in top:
            return set(weights_in_index(INDEX)) & set(names) or found
        if found:
            return found
    return ()
