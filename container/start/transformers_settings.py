"""Options -> TransformersSettings, and which options mean nothing to that engine."""

import json
from collections.abc import Mapping
from typing import Any

from container.options import TABLE, Options
from handler.engines.transformers.launch import OVERRIDES, TransformersSettings
from handler.engines.vllm.launch import VllmSettings
from handler.errors import OptionError

# Options of vLLM that this engine has as well, or that are none of an engine's business.
SUPPORTED = frozenset(
    {
        "revision",
        "trust_remote_code",
        "served_model_name",
        "max_model_len",
        "max_rolling_batch_size",
        "dtype",
        "seed",
        "limit_mm_per_prompt",
        "mm_processor_kwargs",
        "allowed_media_domains",
        "chat_template",
        "chat_template_content_format",
        "default_chat_template_kwargs",
        "host",
        "port",
        # It refuses adapters in words of its own.
        "enable_lora",
        "lora_modules",
    }
)
MAX_ROWS = 32
SUPPORTED_ARGUMENTS = frozenset({"download_dir", "load_format", "override_generation_config"})


def transformers_settings(options: Options, vllm: VllmSettings) -> TransformersSettings:
    """What the transformers engine is started with, where vLLM would be with `vllm`."""
    return TransformersSettings(
        names=vllm.names,
        revision=options.revision,
        token=options.hf_token.get_secret_value() if options.hf_token else None,
        cache_directory=options.engine_arguments.get("download_dir"),
        trust_remote_code=options.trust_remote_code,
        dtype=options.dtype,
        max_model_len=None if options.max_model_len == -1 else options.max_model_len,  # auto
        max_rows=options.max_rolling_batch_size or MAX_ROWS,
        seed=options.seed,
        chat_template=vllm.chat_template,
        chat_template_content_format=vllm.chat_template_content_format,
        default_chat_template_kwargs=vllm.default_chat_template_kwargs,
        processor_arguments=options.mm_processor_kwargs or {},
        generation_overrides=_generation_overrides(options),
        without_effect=without_effect(options),
    )


def _generation_overrides(options: Options) -> Mapping[str, Any]:
    """The operator's defaults for sampling, which only vLLM's own parser reads otherwise. Raises OptionError."""
    text = options.engine_arguments.get("override_generation_config", "{}")
    try:
        overrides = json.loads(text)
    except ValueError:
        overrides = None
    if not isinstance(overrides, dict):
        raise OptionError(
            f'OPTION_OVERRIDE_GENERATION_CONFIG={text!r} is not a JSON object such as {{"temperature": 0}}.'
        )
    # Others, which vLLM may have, can be anything.
    if bad := next((name for name in OVERRIDES if not isinstance(overrides.get(name, 0), int | float)), None):
        raise OptionError(f"OPTION_OVERRIDE_GENERATION_CONFIG has {bad}={overrides[bad]!r}, which is not a number.")
    return overrides


def without_effect(options: Options) -> tuple[str, ...]:
    """The names of options that are set, and that only vLLM has."""
    own = [
        option.name
        for option in TABLE
        if (option.declared.engine or option.declared.flag)
        and option.name not in SUPPORTED
        and (value := getattr(options, option.name)) != option.default
        and not (type(value) is int and value == 1)  # one GPU, one replica, one node
    ]
    arguments = sorted({*options.engine_arguments} - SUPPORTED_ARGUMENTS)
    sampling = sorted(_generation_overrides(options).keys() - OVERRIDES)
    return (
        *(f"OPTION_{name.upper()}" for name in (*own, *arguments)),
        *(f"{name} of OPTION_OVERRIDE_GENERATION_CONFIG" for name in sampling),
    )
