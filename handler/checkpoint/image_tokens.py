"""A configuration -> the tokens of the largest image that a prompt can hold, for families where it says so."""

from collections.abc import Callable, Mapping
from typing import Any

from handler.checkpoint.configuration import complete, vision_config
from handler.checkpoint.files import ModelFiles, read_json

Rule = Callable[[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any], int], int]
_QWEN_MAX_PIXELS = 12_845_056  # of the image processor, where the checkpoint says nothing


def image_tokens(files: ModelFiles, config: Mapping[str, Any], max_pixels: int) -> int | None:
    """None where it is known only once the processor runs. `max_pixels` is the largest image that requests may have."""
    rule = _RULES.get(str(config.get("model_type")))
    vision = vision_config(config)
    if rule is None or not vision:
        return None
    processor = {**read_json(files, "preprocessor_config.json")} or read_json(files, "processor_config.json")
    try:
        return rule(complete(config), vision, processor.get("image_processor", processor), max_pixels)
    except (KeyError, TypeError, ZeroDivisionError):  # a field is missing, or has another form
        return None


def _grid(vision: Mapping[str, Any]) -> int:
    return int(vision["image_size"] // vision["patch_size"])


def _llava(config: Mapping[str, Any], vision: Mapping[str, Any], _processor: Mapping[str, Any], _pixels: int) -> int:
    return int(_grid(vision) ** 2 + (config.get("vision_feature_select_strategy") == "full"))


def _llava_next(
    config: Mapping[str, Any], vision: Mapping[str, Any], _processor: Mapping[str, Any], _pixels: int
) -> int:
    # The image as a whole, then its tiles with one token at the end of each row.
    patch = vision["patch_size"]
    tiles = [(height // patch, width // patch) for height, width in config["image_grid_pinpoints"]]
    return int(_grid(vision) ** 2 + max(rows * columns + rows for rows, columns in tiles))


def _qwen(_config: Mapping[str, Any], vision: Mapping[str, Any], processor: Mapping[str, Any], pixels: int) -> int:
    patch = vision["patch_size"] * vision.get("spatial_merge_size", 2)
    most = processor.get("max_pixels") or (processor.get("size") or {}).get("longest_edge") or _QWEN_MAX_PIXELS
    return int(min(most, pixels) // patch**2)


def _gemma(config: Mapping[str, Any], _vision: Mapping[str, Any], _processor: Mapping[str, Any], _pixels: int) -> int:
    tokens: int = config["mm_tokens_per_image"]
    return tokens


def _internvl(config: Mapping[str, Any], vision: Mapping[str, Any], processor: Mapping[str, Any], _pixels: int) -> int:
    size, patch = vision["image_size"], vision["patch_size"]
    side, step = (each[0] if isinstance(each, list) else each for each in (size, patch))
    tiles = processor.get("max_patches") or config.get("max_dynamic_patch") or 12
    return int((side // step) ** 2 * config["downsample_ratio"] ** 2) * (int(tiles) + 1)


def _pixtral(config: Mapping[str, Any], vision: Mapping[str, Any], _processor: Mapping[str, Any], _pixels: int) -> int:
    # A token ends each row of patches.
    side = vision["image_size"] // (vision["patch_size"] * config.get("spatial_merge_size", 1))
    return int(side * (side + 1))


_RULES: Mapping[str, Rule] = {
    "llava": lambda *given: _pixtral(*given) if given[1].get("model_type") == "pixtral" else _llava(*given),
    "paligemma": _llava,
    "llava_next": _llava_next,
    "qwen2_vl": _qwen,
    "qwen2_5_vl": _qwen,
    "qwen3_vl": _qwen,
    "qwen3_vl_moe": _qwen,
    "gemma3": _gemma,
    "internvl": _internvl,
    "internvl_chat": _internvl,
    "mistral3": _pixtral,
}
