"""Options and a live engine -> the service that answers requests."""

from collections.abc import Sequence
from pathlib import Path

from container.model_store import fetch_adapter
from container.options import Options
from container.options.parsers.locations import MODEL_DIRECTORY
from container.start.model import model_cache
from handler.adapters.registry import Adapters
from handler.adapters.store import AdapterStore
from handler.djl.formatter_registry import FormatterRegistry
from handler.engine import Engine
from handler.image_placeholders import ImagePlaceholders
from handler.images import Images
from handler.media.limits import MediaLimits
from handler.media.loader import MediaLoader
from handler.service import Service
from handler.sessions import Sessions

SAGEMAKER_ADAPTERS = Path("/opt/ml/models")  # for the artefacts of inference components


def media_limits(options: Options) -> MediaLimits:
    """What a request's media may be and where they may come from."""
    return MediaLimits(
        images_per_prompt=options.limit_mm_per_prompt["image"],
        image_bytes=options.media_max_picture_bytes,
        image_pixels=options.media_max_picture_pixels,
        image_side=options.media_max_picture_side,
        image_aspect_ratio=options.media_max_picture_aspect_ratio,
        fetch_seconds=options.image_fetch_timeout,
        allowed_hosts=options.allowed_media_domains or (),
        allowed_networks=options.media_allowed_networks,
    )


def adapter_homes(model: str) -> tuple[Path, ...]:
    """Directories that may hold `adapters/`: the model's, unless it is an id on the hub, and where SageMaker mounts."""
    return tuple(home for home in (Path(model), MODEL_DIRECTORY) if home.is_absolute())


def adapter_store(options: Options, homes: Sequence[Path]) -> AdapterStore:
    """Where the files of adapters are kept. They may come from `homes`, from where SageMaker puts the artefacts of
    inference components, and from the directories that the operator allows."""
    allowed = (*homes, SAGEMAKER_ADAPTERS, *map(Path, options.adapter_directories))
    return AdapterStore(model_cache(options) / "adapters", allowed, fetch_adapter)


def build_service(
    options: Options,
    engine: Engine,
    media: MediaLoader,
    *,
    store: AdapterStore,
    formatters: FormatterRegistry | None = None,
) -> Service:
    """The service of a live engine. Adapters that are registered later are kept in `store`."""
    sessions = (
        Sessions(options.sessions_expiration, options.sessions_max_bytes) if options.enable_stateful_sessions else None
    )
    has_image_adapter = "image" in (module.name for module in options.default_mm_loras)
    return Service(
        engine,
        Images(engine, media, sessions),
        Adapters(
            engine,
            store if options.enable_lora else None,
            image_adapter="image" if has_image_adapter else None,
            code=formatters,
        ),
        sessions=sessions,
        placeholders=ImagePlaceholders(options.image_placeholder_token, options.image_feature_size or 1),
        always_list=options.tgi_compat,
        formatters=formatters,
    )
