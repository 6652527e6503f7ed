"""The layers of the model that vLLM serves, read from its checkpoint, and whether an adapter's changes fit them.

vLLM copies the matrices of an adapter into buffers without a look at the model: smaller ones go in, and a layer that the
model does not have is left out. Either way the answers are wrong, and nobody is told.
"""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from vllm.lora.utils import parse_fine_tuned_lora_name
from vllm.model_executor.model_loader.utils import get_model_cls

from handler.adapters.files import SHOWN, AdapterFiles, Change, shapes_in
from handler.errors import InvalidRequest

log = logging.getLogger("lumi.adapters")

_CONFIGURATIONS = ("config.json", "params.json")
_WEIGHT = ".weight"
# Layers that go by other names in checkpoints than in PEFT: experts may be one tensor, and a tied head is none.
_ELSEWHERE = (".experts", "lm_head", "embed_tokens")


class Layers:
    """The layers by vLLM's names; `only_language` is whether changes of the image's way are left out by vLLM."""

    def __init__(self, model_config: Any, download_dir: str | None = None, *, only_language: bool) -> None:
        model = get_model_cls(model_config)
        mapper = getattr(model, "hf_to_vllm_mapper", None)
        self._mapper = mapper.get_rename_mapper() if mapper is not None else None
        self._unserved = _beside_language(model) if only_language else ()
        self._weights = dict(self._named(_checkpoint(model_config, download_dir)))
        self._modules = {name.rpartition(".")[0] for name in self._weights}
        if not self._modules:
            log.warning("adapters cannot be compared with the model: its checkpoint is not in safetensors")

    def check(self, files: AdapterFiles) -> None:
        """Raises InvalidRequest where a change has no layer to go to, or another size than its layer."""
        for layer, change in files.changes.items():
            name, _ = parse_fine_tuned_lora_name(f"base_model.model.{layer}.lora_A.weight", self._mapper)
            if name.startswith(self._unserved):
                raise _unfit(
                    files,
                    f"it changes {layer}, on the way of images, and vLLM leaves that out unless "
                    "OPTION_ENABLE_TOWER_CONNECTOR_LORA=true",
                )
            self._check_one(files, layer, name, change)

    def _check_one(self, files: AdapterFiles, layer: str, name: str, change: Change) -> None:
        if not self._modules or any(mark in name for mark in _ELSEWHERE):
            return
        if name not in self._modules:
            raise _unfit(files, f"it changes {layer[:SHOWN]}, and the model has no such layer")
        shape = self._weights.get(name + _WEIGHT)  # of a quantized layer the sizes are not seen
        if shape is not None and len(shape) == 2 and shape != (change.outputs, change.inputs):
            raise _unfit(
                files,
                f"its change of {layer[:SHOWN]} has {change.inputs} inputs and {change.outputs} outputs, and the layer "
                f"has {shape[1]} and {shape[0]}",
            )

    def _named(self, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[tuple[str, tuple[int, ...]]]:
        for name, shape in shapes.items():
            mapped = self._mapper.map_name(name) if self._mapper is not None else name
            if mapped is not None:
                yield mapped, shape


def _unfit(files: AdapterFiles, what: str) -> InvalidRequest:
    trained = f" It was trained for {files.base[:SHOWN]}." if files.base else ""
    return InvalidRequest(
        f"The adapter does not fit the model: {what}.{trained}", param="src", code="adapter_does_not_fit"
    )


def _beside_language(model: Any) -> tuple[str, ...]:
    """What the names of layers begin with that are no part of the language model."""
    try:
        mapping = model.get_mm_mapping(model)
    except Exception:  # noqa: BLE001  # it is made for an object, and a few classes look at theirs
        return ()
    return tuple(f"{prefix}." for prefix in (*mapping.tower_model, *mapping.connector))


def _checkpoint(model_config: Any, download_dir: str | None) -> Mapping[str, tuple[int, ...]]:
    """The shapes of the checkpoint's tensors, as far as they are in safetensors: of other files nothing is known."""
    shapes: dict[str, tuple[int, ...]] = {}
    try:
        directory = Path(model_config.model)
        if not directory.is_dir():
            # Of a repository there is what was downloaded of it: not all, which `snapshot_download` would miss.
            named = {"revision": model_config.revision, "cache_dir": download_dir}
            found = (try_to_load_from_cache(model_config.model, name, **named) for name in _CONFIGURATIONS)
            directory = Path(next(path for path in found if isinstance(path, str))).parent
        for path in sorted(directory.glob("*.safetensors")):
            shapes |= shapes_in(path)
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return {}
    return shapes
