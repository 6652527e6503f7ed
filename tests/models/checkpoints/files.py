"""Contents of a checkpoint's JSON files enter; the files leave. Values that many families share stand here once."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
HALF = [0.5, 0.5, 0.5]  # mean and deviation of SigLIP's images
IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def write_json(directory: Path, **files: Mapping[str, Any]) -> None:
    """Write each of `files` under its name, with `.json` added."""
    for name, content in files.items():
        (directory / f"{name}.json").write_text(json.dumps(content, indent=2))


def image_steps(mean: list[float], std: list[float], **steps: Any) -> dict[str, Any]:
    """What most image processors do, as preprocessor_config.json says it, and the `steps` of one of them."""
    usual = {"do_normalize": True, "do_rescale": True, "do_resize": True, "rescale_factor": 1 / 255, "resample": 3}
    return {**usual, "image_mean": mean, "image_std": std, **steps}
