"""The files of a repository on the Hugging Face hub -> the files that vLLM reads, so that no more is downloaded."""

import fnmatch
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from container.model_store.directory import CONFIGURATIONS
from handler.checkpoint.weight_files import weights

# As in vLLM 0.32: transformers_utils/repo_utils.py, _WEIGHT_FILE_PATTERNS. It reads, or may read, the rest.
_LARGE = (
    "*.safetensors", "*.bin", "*.pt", "*.pth", "*.ckpt", "*.gguf", "*.h5", "*.msgpack", "*.onnx", "*.onnx_data",
    "*.png", "*.jpg", "*.jpeg", "*.gif", "*.webp", "*.mp3", "*.mp4", "*.wav", "*.flac", "*.parquet", "*.arrow",
    "*.ipynb", "*.zip", "*.tar*",
)  # fmt: skip
# The formats whose files vLLM maps into memory. The others read them in another way, or from elsewhere.
MAPPED = ("auto", "hf", "safetensors", "mistral", "pt")


@dataclass(frozen=True, slots=True)
class Hub:
    """What to download from the hub: the options `revision` and `hf_token`, vLLM's `load_format` and `download_dir`, and the
    `configurations`, one of which makes a repository a model."""

    revision: str | None = None
    token: str | None = field(default=None, repr=False)
    load_format: str = "auto"
    download_dir: str | None = None
    configurations: tuple[str, ...] = CONFIGURATIONS


def wanted_files(
    names: Collection[str], load_format: str, weights_in_index: Callable[[str], Iterable[str]]
) -> list[str]:
    """Those of `names` that vLLM reads. `weights_in_index` returns the weights that an index file names.

    With a `load_format` that is not in the table above, vLLM chooses and downloads the weights itself.
    """
    small = [name for name in names if not any(fnmatch.fnmatch(name, pattern) for pattern in _LARGE)]
    return sorted({*small, *weights(names, load_format, weights_in_index)})
