"""A family's image processor -> what the largest images that a request may have cost it.

`python -m tests.models.image_limits` prints the table of docs/models.md. Only the processor runs, as transformers has it,
with the sizes of the checkpoint on the hub: a small checkpoint's are smaller.
"""

import importlib
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docs.generate.markdown import table
from handler.media.limits import MediaLimits
from tests.models.families import FAMILIES
from tests.models.measurement import build_checkpoint

_SIDE, _RATIO = MediaLimits().image_side, MediaLimits().image_aspect_ratio
_THIN = -(-_SIDE // _RATIO)
_SQUARE = int(MediaLimits().image_pixels ** 0.5)
LARGEST = ((_SQUARE, _SQUARE), (_SIDE, _THIN), (_THIN, _SIDE))

# What preprocessor_config.json has on the hub where the small checkpoint's is smaller. For the families of every run.
HUB: Mapping[str, Mapping[str, Any]] = {
    "llava": {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}},
    "llava_next": {
        "size": {"shortest_edge": 336},
        "crop_size": {"height": 336, "width": 336},
        "image_grid_pinpoints": [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]],
    },
    "paligemma": {"size": {"height": 224, "width": 224}},
    "qwen2_vl": {"min_pixels": 3136, "max_pixels": 12_845_056},
    "qwen2_5_vl": {"min_pixels": 3136, "max_pixels": 12_845_056},
    "qwen3_vl": {"size": {"shortest_edge": 65_536, "longest_edge": 16_777_216}},
    "gemma3": {"size": {"height": 896, "width": 896}},
    "internvl": {"size": {"height": 448, "width": 448}, "crop_to_patches": True, "max_patches": 12},
    "pixtral": {"size": {"longest_edge": 1024}, "patch_size": {"height": 16, "width": 16}},
    "idefics3": {"size": {"longest_edge": 1456}, "max_image_size": {"longest_edge": 364}},
    "glm4v": {"size": {"shortest_edge": 12_544, "longest_edge": 9_633_792}},
    "mistral3": {"size": {"longest_edge": 1540}, "patch_size": 14},
    "mllama": {"size": {"height": 560, "width": 560}, "max_image_tiles": 4},
}


@dataclass(frozen=True)
class Cost:
    """`shape` is of what goes to the model; `mebibytes` is how far the process grew at its largest."""

    shape: tuple[int, ...]
    seconds: float
    mebibytes: int


def costs(name: str, directory: Path, sizes: Sequence[tuple[int, int]] = LARGEST) -> list[Cost]:
    """What each size costs the processor of the family. To be called in a process of its own, through `measuring`."""
    image_module = importlib.import_module("PIL.Image")
    processor = _processor(name, directory)
    found = []
    for size in sizes:
        image = image_module.new("RGB", size, "red")
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
        before, start = _kibibytes("VmRSS"), time.process_time()
        made = processor(images=[image], return_tensors="pt")
        spent = time.process_time() - start
        found.append(Cost(tuple(made["pixel_values"].shape), spent, (_kibibytes("VmHWM") - before) // 1024))
    return found


def measuring() -> ProcessPoolExecutor:
    """A process that can be given `costs`: the weights of a checkpoint are left out there."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_leave_out_weights)


def main() -> None:
    """Print the table."""
    columns = [f"{width:,} x {height:,}" for width, height in LARGEST]
    rows = []
    with tempfile.TemporaryDirectory() as directory, measuring() as process:
        for name in HUB:
            found = process.submit(costs, name, Path(directory)).result()
            shapes = [" x ".join(map(str, cost.shape)) for cost in found]
            seconds, size = max(cost.seconds for cost in found), max(cost.mebibytes for cost in found)
            rows.append((name, *shapes, f"{seconds:.1f} s", f"{size} MiB"))
    sys.stdout.write(table(("family", *columns, "time", "memory"), rows))


def _processor(name: str, directory: Path) -> Any:
    transformers = importlib.import_module("transformers")
    return transformers.AutoImageProcessor.from_pretrained(build_checkpoint(name, directory), **HUB[name])


def _leave_out_weights() -> None:
    importlib.import_module("torch").set_num_threads(1)
    weights: Any = importlib.import_module("tests.models.checkpoints.weights")
    weights.write_weights = lambda *_: None


def _kibibytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


if __name__ == "__main__":
    assert set(HUB) == {family.name for family in FAMILIES if family.always}
    main()
