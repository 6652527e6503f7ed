"""config.json -> which engine serves the model, as which class, and what the model takes; or why none does."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from handler.engines import architectures
from handler.engines.vllm.registry import MODALITIES, Registry, read_registry
from handler.engines.vllm.transformers_backend import suits_vllm
from handler.errors import StartError

VLLM = "vLLM"
BACKEND = "vLLM, through its Transformers backend"
TRANSFORMERS = "transformers"
REMOTE = "vLLM, through its Transformers backend and the repository's own code"
_BITSANDBYTES = "bitsandbytes"
# Methods of earlier versions of vLLM, and of TGI's and LMI's other engines, that published deployments ask for.
_FORMER_METHODS = (_BITSANDBYTES, "smoothquant", "eetq", "exl2", "marlin", "gguf")
_NESTED = ("text_config", "llm_config", "language_config", "thinker_config")


@dataclass(frozen=True, slots=True)
class Assignment:
    """`engine` runs `model_class`. `overrides` are what vLLM needs besides. `modalities` are what a request may have besides text."""

    engine: str
    architecture: str
    model_class: str
    modalities: tuple[str, ...]
    overrides: Mapping[str, Any] = field(default_factory=dict)


def assign(model: str, config: Mapping[str, Any], arguments: Mapping[str, Any]) -> Assignment:
    """Raises StartError if nothing here can serve the model. `arguments` are vLLM's engine arguments, typed or as text."""
    registry = read_registry()
    overrides = hf_overrides(config, arguments)
    given = arguments.get("hf_overrides") or overrides
    config = {**config, **(_parse(given))}
    names = architectures.architectures(config)
    text_only = is_text_only(arguments)
    if architectures.needs_transformers_4(config) and not text_only:
        raise StartError(_needs_transformers_4(model, names, registry))
    if names and names[0] in architectures.TRANSFORMERS_ENGINE:
        return Assignment(TRANSFORMERS, names[0], names[0], ("image",))
    _check_quantisation(model, config, registry)
    _check_method(str(arguments.get("quantization") or ""), registry)
    found = next((name for name in names if name in registry.models), None)
    if found is not None and not (text_only and found in registry.multimodal):
        modalities = registry.modalities(found) or (("image",) if found in registry.multimodal else ())
        assignment = Assignment(_engine(found, registry), found, registry.models[found][1], modalities, overrides)
    elif found is not None:
        assignment = Assignment(VLLM, found, registry.models[found][1], (), overrides)
    else:
        assignment = replace(_through_transformers(model, config, names, registry), overrides=overrides)
    seen = architectures.vision_field(config)
    if seen is not None and not assignment.modalities and not text_only:
        raise StartError(architectures.text_only_refusal(model, seen, names))
    return assignment


def hf_overrides(config: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What vLLM needs besides; nothing where the operator has set it."""
    return {} if arguments.get("hf_overrides") else architectures.hf_overrides(config)


def _check_quantisation(model: str, config: Mapping[str, Any], registry: Registry) -> None:
    scheme = config.get("quantization_config") or {}
    # Of others vLLM knows more names than its list has.
    if scheme.get("quant_method") == _BITSANDBYTES and _BITSANDBYTES not in registry.quantisations:
        raise StartError(
            f"{model} cannot be served: vLLM {registry.version} cannot read weights quantised by {_BITSANDBYTES}. Use the checkpoint "
            "that is not quantised, or its AWQ, GPTQ, FP8 or compressed-tensors form."
        )


def _check_method(method: str, registry: Registry) -> None:
    """vLLM would find out after it has loaded, and name its own methods only."""
    if method in _FORMER_METHODS and method not in registry.quantisations:
        raise StartError(
            f"quantize={method} cannot be served: vLLM {registry.version} has no such method of quantisation. Remove OPTION_QUANTIZE "
            "(HF_MODEL_QUANTIZE, QUANTIZE) to serve the weights as they are, or set it to fp8_per_tensor, which quantises them at the "
            "start."
        )


def _engine(name: str, registry: Registry) -> str:
    return BACKEND if name in registry.backend else VLLM


def _through_transformers(
    model: str, config: Mapping[str, Any], names: tuple[str, ...], registry: Registry
) -> Assignment:
    """Raises StartError: vLLM has no class of its own for any of `names`."""
    nested = any(isinstance(config.get(name), Mapping) for name in _NESTED)
    modalities = tuple(name for name in MODALITIES if _takes(config, name)) if nested else ()
    if names and names[0] not in registry.plugins and suits_vllm(names[0]):
        kind = "TransformersMultiModalForCausalLM" if nested else "TransformersForCausalLM"
        return Assignment(BACKEND, names[0], kind, modalities)
    known = next((name for name in names if name in registry.dropped or name in registry.plugins), None)
    if known is None and any(name.startswith("AutoModel") for name in config.get("auto_map") or {}):
        return Assignment(REMOTE, names[0] if names else "unknown", "of the repository", modalities)
    raise StartError(_refusal(model, names, known, registry))


def _takes(config: Mapping[str, Any], modality: str) -> bool:
    fields = {"image": architectures.VISION_FIELDS, "video": ("video_token_id",), "audio": ("audio_config",)}[modality]
    return any(config.get(name) is not None for name in fields)


def _refusal(model: str, names: tuple[str, ...], known: str | None, registry: Registry) -> str:
    successor = architectures.successor(names)
    if known is not None and known in registry.dropped:
        return (
            f"{model} cannot be served: vLLM {registry.version} no longer has its architecture {known}; vLLM "
            f"{registry.dropped[known]} was the last that had it.{successor}"
        )
    if known is not None:
        return (
            f"{model} cannot be served: vLLM {registry.version} has its architecture {known} only through a plugin "
            f"({registry.plugins[known]}); install it in an image FROM this one.{successor}"
        )
    if not names:
        return (
            f"{model} cannot be served: its config.json names no `architectures`; add the name of its class, or set "
            'OPTION_HF_OVERRIDES={"architectures": ["..."]}.'
        )
    return (
        f"{model} cannot be served: neither vLLM {registry.version} nor transformers has its architecture "
        f"{', '.join(names)}.{successor}"
    )


def _needs_transformers_4(model: str, names: tuple[str, ...], registry: Registry) -> str:
    last = next((registry.dropped[name] for name in names if name in registry.dropped), None)
    history = f"vLLM {last} was the last that had it" if last else "vLLM has never had it with images"
    return (
        f"{model} cannot be served: {', '.join(names)} exists only as code for transformers 4, and {history}."
        f"{architectures.successor(names)}"
    )


def _parse(overrides: Any) -> dict[str, Any]:
    """The operator's overrides are text; what is not a JSON object is left to vLLM's own parser."""
    if isinstance(overrides, Mapping):
        return dict(overrides)
    try:
        parsed = json.loads(overrides)
    except (TypeError, ValueError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


def is_text_only(arguments: Mapping[str, Any]) -> bool:
    """Whether the operator wants the language part of a vision checkpoint alone."""
    return str(arguments.get("language_model_only")).lower() == "true"
