"""The parts of a model, whole and quantised."""

from handler.checkpoint.parts import parts
from handler.checkpoint.tensors import Tensor

WHOLE = {
    "language_model.model.layers.0.mlp.up_proj.weight": ("BF16", (8, 4)),
    "vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight": ("F32", (4, 4)),
    "multi_modal_projector.linear_1.weight": ("BF16", (8, 4)),
    "visual.merger.mlp.0.weight": ("BF16", (2, 2)),
    "audio_tower.layers.0.fc1.weight": ("BF16", (3, 3)),
}
BYTES = {"BF16": 2, "F32": 4, "I32": 4, "F16": 2, "F8_E4M3": 1, "U8": 1}


def split(tensors, config=None):
    made = []
    for name, (dtype, shape) in tensors.items():
        size = BYTES[dtype]
        for length in shape:
            size *= length
        made.append(Tensor(name, dtype, shape, size, "model.safetensors"))
    return {part.name: part for part in parts(config or {}, made)}


def test_each_tensor_is_in_its_part():
    found = split(WHOLE)
    assert {name: part.parameters for name, part in found.items()} == {
        "language model": 32,
        "vision tower": 16,
        "audio tower": 9,
        "projector": 36,
    }
    assert found["vision tower"].bytes_by_type == {"F32": 64}
    assert next(iter(found)) == "language model"


def test_packed_weights_are_counted_by_what_they_hold():
    packed = {
        "model.layers.0.mlp.up_proj.qweight": ("I32", (4, 8)),
        "model.layers.0.mlp.up_proj.qzeros": ("I32", (1, 1)),
        "model.layers.0.mlp.up_proj.scales": ("F16", (1, 8)),
    }
    found = split(packed, {"quantization_config": {"quant_method": "awq", "bits": 4}})["language model"]
    assert (found.parameters, found.bytes) == (4 * 8 * 8, 128 + 4 + 16)


def test_eight_bits_are_not_packed():
    tensors = {"model.a.weight": ("F8_E4M3", (4, 4)), "model.a.weight_scale_inv": ("BF16", (1, 1))}
    assert split(tensors, {"quantization_config": {"quant_method": "fp8"}})["language model"].parameters == 16


def test_the_width_may_be_in_a_group_or_in_a_flag():
    tensors = {"model.a.weight_packed": ("I32", (2, 2))}
    groups = {"config_groups": {"group_0": {"weights": {"num_bits": 4}}}}
    assert split(tensors, {"quantization_config": groups})["language model"].parameters == 32
    four = {"model.a.weight": ("U8", (8, 1))}
    assert split(four, {"quantization_config": {"load_in_4bit": True}})["language model"].parameters == 16
