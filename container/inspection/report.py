"""ModelReport: what is known of a model before it is loaded; nothing here prints."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from container.inspection.demand import demand, element_bytes, encoder_bytes, loaded_bytes
from container.inspection.fit import Demand, Fit, fit
from container.inspection.instances import INSTANCES, find_instance
from container.options import Options
from handler.checkpoint.chat_template import template_source
from handler.checkpoint.configuration import text_config, vision_config
from handler.checkpoint.files import ModelFiles, read_json
from handler.checkpoint.image_tokens import image_tokens
from handler.checkpoint.memory import TYPE_BYTES, KvCache, context_length, kv_cache
from handler.checkpoint.parts import Part, parts
from handler.engines.assignment import TRANSFORMERS, Assignment
from handler.engines.chat_templates import family_file
from handler.engines.inspection import inspect
from handler.engines.vllm.registry import has_fallback_template
from handler.errors import StartError

_SUGGESTED = 3  # of the types that fit, the first; one for each kind of GPU


@dataclass(frozen=True, slots=True)
class ModelReport:
    """`template` is where the chat template comes from; `context` the tokens that the model was made for, and `max_tokens`
    those of the longest request at the options given; `loaded` the bytes of each part once it is loaded; `encoder` what the
    largest image takes. None, or an empty tuple, is what the files do not say. `fits` is about the instance type that was
    named, or the first that fit."""

    assignment: Assignment
    template: str | None
    context: int | None
    max_tokens: int | None
    parts: tuple[Part, ...]
    loaded: Mapping[str, int]
    kv: KvCache | None
    image_tokens: int | None
    encoder: int | None
    fits: tuple[Fit, ...]
    named: bool


def report_on(files: ModelFiles, options: Options, instance_type: str | None = None) -> ModelReport:
    """Raises StartError where a start would, with the same sentence, or if there is no such instance type."""
    try:
        return _report(files, options, instance_type)
    except (AttributeError, KeyError, TypeError, ValueError) as fault:
        raise StartError(
            f"The configuration of {files.name} has a form that check cannot read ({fault!r}); a start leaves it to vLLM."
        ) from fault


def _report(files: ModelFiles, options: Options, instance_type: str | None) -> ModelReport:
    found = inspect(files, {**options.vllm_arguments(), **options.engine_arguments})
    config = found.config
    element = element_bytes(options)
    there = parts(config, found.tensors)
    kv = kv_cache(config, _cached_bytes(options, element))
    context = context_length(config, read_json(files, "tokenizer_config.json"))
    max_tokens = options.max_model_len or context
    takes_images = "image" in found.assignment.modalities
    tokens = image_tokens(files, config, options.media_max_picture_pixels) if takes_images else None
    wanted = demand(config, options, there, kv=kv, max_tokens=max_tokens or 0, image_tokens=tokens)
    if found.assignment.engine == TRANSFORMERS:  # it computes on one GPU
        wanted = replace(wanted, tensor_parallel=1)
    return ModelReport(
        assignment=found.assignment,
        template=template_source(files, options.chat_template, _fallback_template(config)),
        context=context,
        max_tokens=max_tokens,
        parts=there,
        loaded={part.name: loaded_bytes(part, element) for part in there},
        kv=kv,
        image_tokens=tokens,
        encoder=encoder_bytes(vision_config(config), text_config(config), tokens, element) if tokens else None,
        fits=_fits(wanted, instance_type) if there else (),
        named=instance_type is not None,
    )


def _fits(wanted: Demand, instance_type: str | None) -> tuple[Fit, ...]:
    if instance_type is not None:
        return (fit(wanted, find_instance(instance_type)),)
    found: dict[str, Fit] = {}
    for instance in INSTANCES:
        one = fit(wanted, instance)
        if one.fits:
            found.setdefault(instance.gpu, one)
    return tuple(found.values())[:_SUGGESTED]


def _cached_bytes(options: Options, element: int) -> int:
    """The size of a number in the KV cache."""
    return TYPE_BYTES.get(options.engine_arguments.get("kv_cache_dtype", "auto"), element)


def _fallback_template(config: Mapping[str, Any]) -> str | None:
    family = str(config.get("model_type", ""))
    if has_fallback_template(family):
        return f"vLLM's own for {family}"
    return f"Lumi's own for {family}" if family_file(family, text_config(config).get("model_type")) else None
