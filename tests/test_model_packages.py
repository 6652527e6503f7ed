"""What vLLM's models of images import is in the images: its code is read, not run, so that nothing is found only by a GPU."""

import ast
import importlib.util
import sys
from pathlib import Path

import pytest

from handler.engines.vllm.registry import read_registry

VLLM = Path(importlib.util.find_spec("vllm").origin).parent
# What a module asks for behind a check of its own, and does without.
OPTIONAL = {
    "flash_attn": "attention of another package, where it is installed",
    "aiter": "kernels for AMD",
    "flydsl": "kernels for AMD",
    "flag_gems": "kernels of another package, where it is installed",
    "modelscope": "a hub that Lumi does not read",
    "transformers_modules": "the code of a model's repository",
}
# Not for images.
OTHER_MEDIA = {"kaldi_native_fbank", "terratorch"}
LOADERS = {"tensorizer", "torchao"}  # OPTION_LOAD_FORMAT, beyond what the image has
# What only the gpu image has: the names of the packages.
ON_GPUS = {
    "cutlass": "nvidia-cutlass-dsl",
    "fastsafetensors": "fastsafetensors",
    "flashinfer": "flashinfer-python",
    "instanttensor": "instanttensor",
    "quack": "quack-kernels",
    "runai_model_streamer": "runai-model-streamer",
}


def modules_of_image_models():
    registry = read_registry()
    architectures = [name for name in registry.multimodal if "image" in registry.modalities(name)]
    return sorted({registry.models[name][0] for name in architectures})


def imported(file):
    """The packages that a file imports anywhere, inside functions too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.partition(".")[0]


def missing(files):
    names = {name for file in files for name in imported(file)} - set(sys.stdlib_module_names)
    return {name for name in names if importlib.util.find_spec(name) is None}


@pytest.mark.parametrize("module", modules_of_image_models())
def test_a_model_of_images_finds_what_it_imports(module):
    room = VLLM.parent / module.replace(".", "/") if "." in module else VLLM / "model_executor" / "models" / module
    files = sorted(room.rglob("*.py")) or [room.with_suffix(".py")]
    assert missing(files) <= OPTIONAL.keys() | OTHER_MEDIA | ON_GPUS.keys()


@pytest.mark.parametrize("room", ["transformers_utils", "model_executor/model_loader"])
def test_configurations_processors_and_loaders_find_what_they_import(room):
    assert missing((VLLM / room).rglob("*.py")) <= OPTIONAL.keys() | OTHER_MEDIA | LOADERS | ON_GPUS.keys()


@pytest.mark.parametrize("package", sorted(ON_GPUS.values()))
def test_the_gpu_image_has_what_only_gpus_use(package):
    lock = (Path(__file__).parent.parent / "requirements" / "gpu.txt").read_text()
    assert f"\n{package}==" in lock
