"""What handlers import from LMI's service for transformers."""

from typing import Any

_TYPES = {
    "auto": "auto",
    "fp32": "float32",
    "float32": "float32",
    "fp16": "float16",
    "float16": "float16",
    "bf16": "bfloat16",
    "bfloat16": "bfloat16",
    "int8": "int8",
    "int4": "int4",
}


def get_torch_dtype_from_str(dtype: str) -> Any:
    """The torch dtype of LMI's name (fp16, bf16, ...). `auto` is returned unchanged. Raises ValueError."""
    name = _TYPES.get(dtype)
    if name is None:
        raise ValueError(f"{dtype!r} is not a dtype; it must be one of {', '.join(_TYPES)}.")
    if name in ("auto", "int4"):
        return name
    import torch  # noqa: PLC0415  # takes seconds, only where it is used

    return getattr(torch, name)


def __getattr__(name: str) -> Any:
    if name in ("HuggingFaceService", "_service", "handle"):
        raise ImportError(
            f"{name} of djl_python.huggingface is LMI's own transformers service, which is not available here. Remove "
            "`handle` from your model.py, and vLLM serves the model with your formatters; or load the model with "
            "transformers in your own handle."
        )
    raise AttributeError(f"module 'djl_python.huggingface' has no attribute {name!r}")
