"""The checkpoint of the model that vLLM serves -> its layers, and whether an adapter's changes fit them.

vLLM copies an adapter's matrices into buffers without comparing them with the model: smaller ones are accepted, and a layer
that the model does not have is skipped. Either way the answers are wrong, without an error.
"""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from safetensors import SafetensorError
from vllm.lora.utils import parse_fine_tuned_lora_name
from vllm.model_executor.model_loader.utils import get_model_cls

from handler.adapters.files import MAX_QUOTED_CHARS, AdapterFiles, Change, read_tensors
from handler.errors import InvalidRequest

log = logging.getLogger("lumi.adapters")

_CONFIGURATIONS = ("config.json", "params.json")
_WEIGHT = ".weight"
# Layers whose names in checkpoints differ from PEFT's: experts may be one tensor, and a tied head is none.
_DIFFERENTLY_NAMED = (".experts", "lm_head", "embed_tokens")


class Layers:
    """The layers by vLLM's names; with `only_language`, vLLM skips changes of the vision tower and connector."""

    def __init__(self, model_config: Any, download_dir: str | None = None, *, only_language: bool) -> None:
        model = get_model_cls(model_config)
        mapper = getattr(model, "hf_to_vllm_mapper", None)
        self._mapper = mapper.get_rename_mapper() if mapper is not None else None
        self._skipped = _vision_prefixes(model) if only_language else ()
        self._weights = dict(self._rename(_checkpoint(model_config, download_dir)))
        self._modules = {name.rpartition(".")[0] for name in self._weights}
        if not self._modules:
            log.warning("adapters cannot be checked against the model: its checkpoint is not in safetensors")

    def check(self, files: AdapterFiles) -> None:
        """Raises InvalidRequest for a change of a layer that the model does not have, or that has another size."""
        for layer, change in files.changes.items():
            name, _ = parse_fine_tuned_lora_name(f"base_model.model.{layer}.lora_A.weight", self._mapper)
            if name.startswith(self._skipped):
                raise _unfit(
                    files,
                    f"it changes {layer}, in the vision tower or connector, which vLLM skips unless "
                    "OPTION_ENABLE_TOWER_CONNECTOR_LORA=true",
                )
            self._check_one(files, layer, name, change)

    def _check_one(self, files: AdapterFiles, layer: str, name: str, change: Change) -> None:
        if not self._modules or any(part in name for part in _DIFFERENTLY_NAMED):
            return
        if name not in self._modules:
            raise _unfit(files, f"it changes {layer[:MAX_QUOTED_CHARS]}, but the model has no such layer")
        shape = self._weights.get(name + _WEIGHT)  # a quantized layer has no such tensor
        if shape is not None and len(shape) == 2 and shape != (change.outputs, change.inputs):
            raise _unfit(
                files,
                f"its change of {layer[:MAX_QUOTED_CHARS]} has {change.inputs} inputs and {change.outputs} outputs, but the layer "
                f"has {shape[1]} and {shape[0]}",
            )

    def _rename(self, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[tuple[str, tuple[int, ...]]]:
        for name, shape in shapes.items():
            mapped = self._mapper.map_name(name) if self._mapper is not None else name
            if mapped is not None:
                yield mapped, shape


def _unfit(files: AdapterFiles, what: str) -> InvalidRequest:
    trained = f" It was trained for {files.base[:MAX_QUOTED_CHARS]}." if files.base else ""
    return InvalidRequest(
        f"The adapter does not fit the model: {what}.{trained}", param="src", code="adapter_does_not_fit"
    )


def _vision_prefixes(model: Any) -> tuple[str, ...]:
    """The name prefixes of the layers outside the language model."""
    try:
        mapping = model.get_mm_mapping(model)
    except Exception:  # noqa: BLE001  # made for an instance: a few classes use its attributes
        return ()
    return tuple(f"{prefix}." for prefix in (*mapping.tower_model, *mapping.connector))


def _checkpoint(model_config: Any, download_dir: str | None) -> Mapping[str, tuple[int, ...]]:
    """The shapes of the checkpoint's tensors, as far as they are in safetensors."""
    shapes: dict[str, tuple[int, ...]] = {}
    try:
        directory = Path(model_config.model)
        if not directory.is_dir():
            # Only a part of the repository was downloaded, which `snapshot_download` would not accept.
            options = {"revision": model_config.revision, "cache_dir": download_dir}
            found = (try_to_load_from_cache(model_config.model, name, **options) for name in _CONFIGURATIONS)
            directory = Path(next(path for path in found if isinstance(path, str))).parent
        for path in sorted(directory.glob("*.safetensors")):
            shapes |= {name: tensor.shape for name, tensor in read_tensors(path).items()}
    except (OSError, ValueError, SafetensorError, StopIteration):
        return {}
    return shapes
