import json
import shutil

import pytest
import torch

from handler.engines.vllm.launch import VllmSettings
from handler.engines.vllm.quantisation import check_quantisation
from handler.errors import StartError
from tests.live import MODEL

pytestmark = [pytest.mark.engine, pytest.mark.filterwarnings("default")]

NEWEST = {"architecture": "x86_64", "avx512_f": True, "amx_tile": True, "avx512_vnni": True, "avx_vnni": False}
OLD = {**NEWEST, "avx512_f": False, "amx_tile": False, "avx512_vnni": False}


def scheme(bits, activations=None):
    weights = {"num_bits": bits, "type": "int"}
    return {
        "quant_method": "compressed-tensors",
        "config_groups": {"group_0": {"weights": weights, "input_activations": activations}},
    }


FOUR_BITS = ({"quant_method": "awq", "bits": 4}, {"quant_method": "gptq", "bits": 4}, scheme(4))
FP8 = {"quant_method": "fp8", "weight_block_size": [128, 128]}
W8A8 = scheme(8, {"num_bits": 8, "type": "int"})


@pytest.mark.parametrize(("config", "instructions"), [*((config, "AVX-512") for config in FOUR_BITS), (FP8, "AMX")])
def test_weights_that_this_cpu_cannot_compute_are_refused_with_what_it_lacks(config, instructions):
    with pytest.raises(StartError, match=rf"mine has weights of .*{instructions}"):
        check_quantisation("mine", config, OLD)
    assert check_quantisation("mine", config, NEWEST) is None


def test_products_that_overflow_are_said():
    assert "lacks VNNI" in (check_quantisation("mine", W8A8, OLD) or "")
    assert check_quantisation("mine", W8A8, NEWEST) is None


@pytest.mark.parametrize("config", [None, {"quant_method": "gptq", "bits": 8}, scheme(8)])
def test_nothing_is_said_of_other_weights(config):
    assert check_quantisation("mine", config, OLD) is None


def test_nothing_is_said_of_other_processors():
    assert check_quantisation("mine", FOUR_BITS[0], {"architecture": "aarch64"}) is None


def test_the_start_asks_before_it_loads(tmp_path, monkeypatch):
    from handler.engines.vllm.configuration import create_config

    directory = tmp_path / "model"
    shutil.copytree(MODEL, directory)
    config = json.loads((directory / "config.json").read_text())
    awq = {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True, "version": "gemm"}
    (directory / "config.json").write_text(json.dumps({**config, "quantization_config": awq}))
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: OLD)
    with pytest.raises(StartError, match="AVX-512"):
        create_config(VllmSettings({"model": str(directory), "dtype": "bfloat16"}, ("m",)))
