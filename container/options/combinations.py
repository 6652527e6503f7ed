"""Decisions -> those that follow from them, and the findings about options that do not go together."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from container.options.claims import Claims
from container.options.decisions import Decision, Decisions, conflict, value_of
from container.options.findings import NOTHING, Findings, fault, warning
from container.options.names import OptionNames
from container.options.parsers.modality_limits import UNSUPPORTED, ModalityLimits
from container.options.sources.sagemaker import is_sagemaker_host
from container.options.sources.settings import Channel

# In LMI a size follows from the rolling batch that is named, and is 32 where none is: LmiConfigRecommender.java of
# djl-serving d21927c, read on 2026-11-22. It takes lmi-dist, which it no longer has, for vllm.
_SIZES_OF_ROLLING_BATCH = {"vllm": 256, "lmi-dist": 256}
_LEGACY_TOKEN = "<image>"  # noqa: S105  # of nearly every model that vLLM 0.5 had


def combine(
    decisions: Decisions, claims: Claims, environ: Mapping[str, str], names: OptionNames
) -> tuple[Decisions, Findings]:
    """The decisions that LMI's rolling batch and vLLM 0.5's options of images imply, and every conflict among options."""
    images_only, unsupported = _plan_for_images(decisions, names)
    planned, found = _plan_memory({**decisions, **images_only}, names)
    findings = Findings.combine(
        (
            *_check_needs(decisions, names),
            unsupported,
            found,
            *_check_engine_environment(decisions, environ, names),
            *_check_api_key(decisions, environ, names),
        )
    )
    implied = {
        **_batch_size(decisions, claims),
        **_stream_format(decisions, claims),
        **_legacy_placeholder(decisions),
    }
    return {**implied, **images_only, **planned}, findings


def _check_needs(decisions: Decisions, names: OptionNames) -> Iterator[Findings]:
    if value_of(decisions, "enable_auto_tool_choice") and "tool_call_parser" not in decisions:
        yield fault(
            f"{names.describe(decisions['enable_auto_tool_choice'].setting)} needs a parser for the model's tool calls; "
            f"set OPTION_TOOL_CALL_PARSER, for instance to hermes"
        )
    for name in ("lora_modules", "default_mm_loras"):
        if value_of(decisions, name) and not value_of(decisions, "enable_lora"):
            described = names.describe(decisions[name].setting)
            yield fault(f"{described} needs LoRA adapters to be enabled; set OPTION_ENABLE_LORA=true")


def _batch_size(decisions: Decisions, claims: Claims) -> Decisions:
    rolling_batch = next((setting for setting in claims.named if setting.name == "rolling_batch"), None)
    size = _SIZES_OF_ROLLING_BATCH.get(rolling_batch.text.strip()) if rolling_batch else None
    if rolling_batch is None or size is None or "max_rolling_batch_size" in decisions:
        return {}
    return {"max_rolling_batch_size": Decision(size, rolling_batch)}


def _stream_format(decisions: Decisions, claims: Claims) -> Decisions:
    """AWS's vLLM container streams server-sent events on /invocations, as vLLM does there (0.32, entrypoints/serve/sagemaker/api_router.py)."""
    own = [setting for setting, _ in claims.owners if setting.origin.channel is Channel.VLLM_CONTAINER]
    if not own or claims.named or "output_formatter" in decisions:
        return {}
    return {"output_formatter": Decision("sse", own[0])}


def _legacy_placeholder(decisions: Decisions) -> Decisions:
    if "image_feature_size" not in decisions or "image_placeholder_token" in decisions:
        return {}
    return {"image_placeholder_token": Decision(_LEGACY_TOKEN, decisions["image_feature_size"].setting)}


def _plan_for_images(decisions: Decisions, names: OptionNames) -> tuple[Decisions, Findings]:
    """The limits without what requests cannot have: vLLM would reserve memory for it, and load the parts of the model."""
    limits = decisions.get("limit_mm_per_prompt")
    if limits is None or limits.value == limits.value.for_images():
        return {}, NOTHING
    kinds = " and ".join(plural for modality, plural in UNSUPPORTED.items() if limits.value[modality])
    found = warning(f"{names.describe(limits.setting)} allows {kinds}, which requests cannot have; vLLM plans for none")
    return {"limit_mm_per_prompt": replace(limits, value=limits.value.for_images())}, found if kinds else NOTHING


def _plan_memory(decisions: Decisions, names: OptionNames) -> tuple[Decisions, Findings]:
    """The limits with the size of image_input_shape, unless they have sizes of their own."""
    if "image_input_shape" not in decisions:
        return {}, NOTHING
    shape = decisions["image_input_shape"]
    width, height = shape.value
    limits = decisions.get("limit_mm_per_prompt", Decision(ModalityLimits(), shape.setting))
    if "image" not in limits.value.sizes:
        found = warning(
            f"{names.describe(shape.setting)} plans memory for images of up to {width}x{height}, as the sizes of "
            f"limit_mm_per_prompt do; an image that needs more is refused. Remove it to plan for images of any size"
        )
        return {"limit_mm_per_prompt": replace(limits, value=limits.value.with_image_size(width, height))}, found
    if limits.value.sizes["image"] != {"width": width, "height": height}:
        return {}, conflict(limits.setting, shape.setting, names)
    return {}, NOTHING


def _check_engine_environment(
    decisions: Decisions, environ: Mapping[str, str], names: OptionNames
) -> Iterator[Findings]:
    """`env` comes too late for the variables that Lumi reads itself, and it wins over the container's environment."""
    for name, value in (value_of(decisions, "env") or {}).items():
        described = names.describe(decisions["env"].setting)
        option = names.option_of_variable(name)
        if option:
            yield fault(f"{described} sets {name}, which Lumi reads itself; write option.{option.name} instead")
        elif environ.get(name, value) != value:
            yield warning(f"{described} is used for {name}, and the container's own {name} is not")


def _check_api_key(decisions: Decisions, environ: Mapping[str, str], names: OptionNames) -> Iterator[Findings]:
    """An empty value is no value, as in LMI; but somebody who sets the key wants it to be required."""
    empty = [name for name, text in environ.items() if name.upper() == "OPTION_API_KEY" and not text.strip()]
    if empty and "api_key" not in decisions:
        yield warning(f"{empty[0]} is empty, so requests need no API key; give it a value, or remove it")
    if "api_key" in decisions and is_sagemaker_host(environ):
        described = names.describe(decisions["api_key"].setting)
        yield fault(
            f"{described} would refuse every request on a SageMaker host: SageMaker authenticates them, and its clients cannot "
            f"send a key; remove it. If this is no such host, remove SAGEMAKER_SAFE_PORT_RANGE, by which it is recognised"
        )
