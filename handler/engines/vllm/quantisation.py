"""Quantised weights that vLLM cannot compute on this CPU, or computes inexactly, said before they are loaded.

Seen with vLLM 0.32 on a CPU that has AVX2 alone: weights of four bits load, and the first request ends the engine, since only
the build for AVX-512 has their product (`cpu_gemm_wna16`). Products of eight-bit integers saturate: outputs of a layer were off
by 1.2 where their mean is 1.5, and exact once the weights used seven bits.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from handler.errors import StartError

Json = Mapping[str, Any]


def check_quantisation(model: str, config: Json | None, cpu: Json) -> str | None:
    """What is inexact, for the log. `config` is the model's quantization_config, `cpu` what torch.cpu.get_capabilities() says.
    Raises StartError where this CPU lacks the instructions."""
    if config is None or cpu.get("architecture") != "x86_64":
        return None
    kinds = set(_kinds(config))
    if "four bits" in kinds and not cpu["avx512_f"]:
        raise StartError(_refusal(model, "of four bits", "AVX-512"))
    if "blocks of eight-bit floats" in kinds and not cpu["amx_tile"]:
        raise StartError(_refusal(model, "of eight-bit floats in blocks", "AMX"))
    if "eight-bit activations" in kinds and not (cpu["avx512_vnni"] or cpu["avx_vnni"]):
        return (
            f"the weights and activations of {model} are eight-bit integers, whose products overflow on this CPU, which lacks "
            "VNNI: answers differ from those of a GPU"
        )
    return None


def _refusal(model: str, weights: str, instructions: str) -> str:
    return (
        f"{model} has weights {weights}, for which vLLM needs a GPU or a CPU with {instructions}. Serve the checkpoint that is not "
        "quantised."
    )


def _kinds(config: Json) -> Iterator[str]:
    method = config.get("quant_method")
    if method in ("awq", "gptq") and config.get("bits", config.get("w_bit")) == 4:
        yield "four bits"
    if method == "fp8" and config.get("weight_block_size"):
        yield "blocks of eight-bit floats"
    if method == "compressed-tensors":
        for scheme in (config.get("config_groups") or {}).values():
            weights, activations = scheme.get("weights") or {}, scheme.get("input_activations") or {}
            if weights.get("num_bits") == 4 and weights.get("type") == "int":
                yield "four bits"
            if activations.get("num_bits") == 8 and activations.get("type") == "int":
                yield "eight-bit activations"
