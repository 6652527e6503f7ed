"""Settings -> a live engine: the model, its processor, and what of them cannot be served, as a StartError."""

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor
from transformers import __version__ as transformers_version
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from handler.engine import ModelCard
from handler.engines.chat_templates import family_template, words_of
from handler.engines.placeholders import config_tokens, escaper_of
from handler.engines.transformers.decoder import Decoder
from handler.engines.transformers.engine import TransformersEngine
from handler.engines.transformers.launch import OVERRIDES, TransformersSettings
from handler.engines.transformers.parameters import CHAT_PARAMETERS, TEXT_PARAMETERS
from handler.engines.transformers.prompts import Prompts
from handler.engines.transformers.templates import Template, template_text
from handler.engines.transformers.worker import Worker
from handler.errors import LumiError, OptionError, StartError

_GATED = "trust_remote_code=True"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model and its processor, on their device."""

    name: str
    model: Any
    processor: Any
    max_model_len: int

    @property
    def tokenizer(self) -> Any:
        """The processor's tokenizer."""
        return self.processor.tokenizer


def load(settings: TransformersSettings, name: str) -> Loaded:
    """Load the model `name`, a directory or an id on the hub whose files are here. Raises StartError."""
    source: dict[str, Any] = {
        "trust_remote_code": settings.trust_remote_code,
        "revision": settings.revision,
        "token": settings.token,
        "cache_dir": settings.cache_directory,
    }
    with _load_errors(name):
        config = AutoConfig.from_pretrained(name, **source)
        _check_config(config, name)
        processor = AutoProcessor.from_pretrained(name, **source)
        if not hasattr(getattr(processor, "tokenizer", None), "backend_tokenizer"):
            raise StartError(f"{name} has no tokenizer.json, or no processor for images; save them beside the model.")
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if device.type == "cpu":
            _leave_a_core()
        model, report = AutoModelForImageTextToText.from_pretrained(
            name, dtype=_dtype(settings.dtype, config, device), output_loading_info=True, **source
        )
        if missing := sorted(report["missing_keys"]):
            raise StartError(
                f"The weights of {name} are not complete: {len(missing)} tensors are missing, such as {missing[0]}. "
                "Download the model anew."
            )
        model.to(device).eval()
    if any(hasattr(module, "rope_deltas") for module in model.modules()):
        raise StartError(f"{name} keeps positions of images in the model itself, which batches cannot share; {_ELSE}")
    return Loaded(name, model, processor, _context(settings, config, name))


def start(loaded: Loaded, settings: TransformersSettings) -> TransformersEngine:
    """The engine; its thread runs. Raises StartError."""
    if settings.seed is not None:
        torch.manual_seed(settings.seed)
    with _load_errors(loaded.name):
        return _engine(loaded, settings)


def _engine(loaded: Loaded, settings: TransformersSettings) -> TransformersEngine:
    processor, tokenizer, model = loaded.processor, loaded.tokenizer, loaded.model
    placeholder = None if _puts_images_first(processor) else str(processor.image_token)
    text = template_text(settings.chat_template, processor) or family_template(model.config)
    template = None
    if text is not None:
        template = Template(
            processor,
            text,
            content_format=settings.chat_template_content_format,
            variables=settings.default_chat_template_kwargs,
        )
    prompts = Prompts(
        processor,
        placeholder,
        template,
        escaper_of(_placeholder_tokens(loaded), tokenizer),
        max_model_len=loaded.max_model_len,
        vocabulary=model.get_input_embeddings().num_embeddings,
        arguments=settings.processor_arguments,
    )
    worker = Worker(Decoder(model), tokenizer, max_rows=settings.max_rows)
    worker.start()
    return TransformersEngine(
        _card(loaded, settings, placeholder, text),
        tokenizer,
        prompts,
        worker,
        defaults=_defaults(model, settings),
        ends=_ends(model, tokenizer),
    )


_ELSE = "unset OPTION_TRANSFORMERS_ENGINE, so that vLLM runs it."


@contextlib.contextmanager
def _load_errors(name: str) -> Iterator[None]:
    try:
        yield
    except LumiError:
        raise
    except Exception as fault:
        reason = str(fault).strip() or type(fault).__name__
        if _GATED in reason:
            reason = "it needs Python code of its repository; set OPTION_TRUST_REMOTE_CODE=true if you trust it."
        raise StartError(f"transformers could not load {name}: {reason}") from fault


def _check_config(config: Any, name: str) -> None:
    text = config.get_text_config(decoder=True)
    if config.is_encoder_decoder:
        raise StartError(f"{name} has an encoder of text, which this engine does not run; {_ELSE}")
    known = (DynamicLayer, DynamicSlidingWindowLayer)
    if strange := next((layer for layer in DynamicCache(config=text).layers if type(layer) not in known), None):
        raise StartError(f"{name} has layers without keys and values ({type(strange).__name__}); {_ELSE}")


def _dtype(setting: str, config: Any, device: torch.device) -> torch.dtype:
    if setting != "auto":
        return getattr(torch, {"half": "float16", "float": "float32"}.get(setting, setting))
    if device.type == "cpu":
        return torch.float32
    own = config.dtype or config.get_text_config(decoder=True).dtype
    return torch.bfloat16 if own in (None, torch.float32) else own


def _context(settings: TransformersSettings, config: Any, name: str) -> int:
    own: int | None = getattr(config.get_text_config(decoder=True), "max_position_embeddings", None)
    wanted = settings.max_model_len
    if own is None and wanted is None:
        raise StartError(f"The config.json of {name} does not say how long its context is; set OPTION_MAX_MODEL_LEN.")
    if own is not None and wanted is not None and wanted > own:
        raise OptionError(f"OPTION_MAX_MODEL_LEN={wanted} is more than the context of {name}, {own} tokens.")
    return wanted or own or 0


def _leave_a_core() -> None:
    """The event loop needs one of the cores beside the threads of torch."""
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(max(1, min(torch.get_num_threads(), cores - 1)))


def _puts_images_first(processor: Any) -> bool:
    """Fuyu's takes one image and a text without a placeholder."""
    return type(processor).__name__ == "FuyuProcessor"


def _placeholder_tokens(loaded: Loaded) -> Iterator[str]:
    yield from config_tokens(loaded.model.config, loaded.tokenizer)
    for name, value in vars(loaded.processor).items():  # the tokens around an image, too
        if "image" in name and name.endswith("_token") and isinstance(value, str):
            yield value


def _defaults(model: Any, settings: TransformersSettings) -> Mapping[str, Any]:
    own = model.generation_config
    defaults = {name: settings.generation_overrides.get(name, getattr(own, name, None)) for name in OVERRIDES}
    return {name: value for name, value in defaults.items() if value is not None}


def _ends(model: Any, tokenizer: Any) -> frozenset[int]:
    ids = model.generation_config.eos_token_id
    ids = ids if isinstance(ids, list) else [ids]
    return frozenset(one for one in (*ids, tokenizer.eos_token_id) if one is not None)


def _card(loaded: Loaded, settings: TransformersSettings, placeholder: str | None, template: str | None) -> ModelCard:
    return ModelCard(
        names=settings.names,
        max_model_len=loaded.max_model_len,
        supports_images=True,
        batch_size=settings.max_rows,
        max_characters=loaded.max_model_len * max(map(len, loaded.tokenizer.get_vocab())),
        max_images=1 if _puts_images_first(loaded.processor) else None,
        has_chat_template=template is not None,
        template_words=words_of(template),
        parameters=CHAT_PARAMETERS,
        text_parameters=TEXT_PARAMETERS,
        placeholder=placeholder,
        created=int(time.time()),
        version=transformers_version,
    )
