"""Options -> what each room is started with."""

from collections.abc import Sequence
from pathlib import Path

from container.http.inference import Serving
from container.model_store import CACHE, Hub, Kind, Located, locate
from container.options import Options
from container.options.parsers.locations import MODEL_DIRECTORY
from container.start.backend import CodeSettings
from container.start.machine import Needs
from handler.adapters.registry import Adapters
from handler.adapters.store import AdapterStore
from handler.djl.formatters import Formatters
from handler.engine import Engine
from handler.errors import StartError
from handler.image_placeholders import ImagePlaceholders
from handler.images import Images
from handler.media.limits import MediaLimits
from handler.media.loader import MediaLoader
from handler.service import Service
from handler.sessions import Sessions

SAGEMAKER_ADAPTERS = Path("/opt/ml/models")


def front_end(options: Options) -> Serving:
    """What the routes need of the options."""
    return Serving(
        request_bytes=options.max_request_size,
        predict_seconds=options.predict_timeout,
        batch_size=options.max_rolling_batch_size,
        output_formatter=options.output_formatter,
        lmi_errors=options.error_compat == "lmi",
        tgi=options.tgi_compat,
        management=options.enable_management,
        api_key=options.api_key.get_secret_value() if options.api_key else None,
    )


def located_model(options: Options) -> Located | None:
    """The model that is named; None where there is none for vLLM, but code that may own another. Raises StartError."""
    try:
        return locate(options.model_id)
    except StartError:
        if options.code is None:
            raise
        return None


def served_names(options: Options, model: Located | None) -> tuple[str, ...]:
    """What `model` of a request may be."""
    # LMI's clients that name a model name the last one, which is what LMI calls a model that has no other name.
    return options.served_model_name or (*(model.names if model else ("model",)), "lmi")


def needs(options: Options, model: Located, *, gpus: int, cuda: int | None) -> Needs:
    """What the start wants of a machine with `gpus`, for a vLLM that is built for `cuda`; of memory, what is known before
    anything is loaded."""
    degree = options.tensor_parallel_degree
    tensor = (max(1, gpus) if cuda is not None else 1) if degree == "max" else degree
    weights = sum(
        file.stat().st_size for file in Path(model.source).glob("*.safetensors") if model.kind is Kind.DIRECTORY
    )
    return Needs(
        cuda=cuda,
        processes=tensor * options.pipeline_parallel_degree,
        memory=weights + (options.kv_cache_memory_bytes or 0),
        compiles=cuda is not None or not options.enforce_eager,
    )


def code_settings(options: Options, *, gpus: int) -> CodeSettings:
    """What of the options concerns user code, on a machine with `gpus`."""
    return CodeSettings(
        directories=options.code_directories,
        entry_point=options.entry_point,
        handler=options.handler,
        install_requirements=options.install_requirements,
        seconds=options.predict_timeout,
        loading_seconds=options.model_loading_timeout,
        properties=options.written,
        gpus=gpus,
    )


def hub(options: Options) -> Hub:
    """What of the Hugging Face hub is wanted."""
    token = options.hf_token.get_secret_value() if options.hf_token else None
    arguments = options.engine_arguments
    return Hub(options.revision, token, arguments.get("load_format", "auto"), arguments.get("download_dir"))


def model_cache(options: Options) -> Path:
    """Where models from S3 are kept."""
    return Path(options.engine_arguments.get("download_dir", CACHE))


def adapter_homes(model: str) -> tuple[Path, ...]:
    """Directories that may hold `adapters/`: the model's, unless it is an id on the hub, and where SageMaker mounts."""
    return tuple(home for home in (Path(model), MODEL_DIRECTORY) if home.is_absolute())


def adapter_directories(options: Options, homes: Sequence[Path]) -> tuple[Path, ...]:
    """Where adapters may be registered from: where the model is, where SageMaker puts the artefacts of inference
    components, and where the operator says."""
    return (*homes, SAGEMAKER_ADAPTERS, *map(Path, options.adapter_directories))


def media_limits(options: Options) -> MediaLimits:
    """What a request's media may be and where they may come from."""
    return MediaLimits(
        images_per_prompt=options.limit_mm_per_prompt["image"],
        image_bytes=options.media_max_picture_bytes,
        image_pixels=options.media_max_picture_pixels,
        fetch_seconds=options.image_fetch_timeout,
        allowed_hosts=options.allowed_media_domains or (),
        allowed_networks=options.media_allowed_networks,
    )


def service_of(
    options: Options,
    engine: Engine,
    media: MediaLoader,
    *,
    store: AdapterStore | None = None,
    formatters: Formatters | None = None,
) -> Service:
    """Who answers, of an engine that is started; adapters that come later are kept in `store`."""
    sessions = (
        Sessions(options.sessions_expiration, options.sessions_max_bytes) if options.enable_stateful_sessions else None
    )
    has_image_adapter = "image" in (module.name for module in options.default_mm_loras)
    return Service(
        engine,
        Images(engine, media, sessions),
        Adapters(engine, store if options.enable_lora else None, image_adapter="image" if has_image_adapter else None),
        sessions=sessions,
        placeholders=ImagePlaceholders(options.image_placeholder_token, options.image_feature_size or 1),
        always_list=options.tgi_compat,
        formatters=formatters,
    )
