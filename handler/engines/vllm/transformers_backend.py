"""Which classes of transformers vLLM can run itself, read from the source: importing them takes many seconds."""

import functools
import importlib.util
import re
from pathlib import Path

_INTERFACES = ("_supports_attention_backend = True", "ALL_ATTENTION_FUNCTIONS")


@functools.cache
def suits_vllm(architecture: str) -> bool:
    """Whether transformers has this class, and vLLM can replace the attention in it: its Transformers backend can run it."""
    spec = importlib.util.find_spec("transformers")
    if spec is None or spec.origin is None:
        return False
    models = Path(spec.origin).parent / "models"
    known = (models / "auto" / "modeling_auto.py").read_text()
    if f'"{architecture}"' not in known:
        return False
    defining = re.compile(rf"^class {re.escape(architecture)}\(", re.MULTILINE)
    for path in models.glob("*/modeling_*.py"):
        source = path.read_text()
        if defining.search(source):
            return any(word in source for word in _INTERFACES)
    return False
