"""What is known of architectures beyond vLLM's registry: who serves them, their other names, and what to use instead."""

from collections.abc import Collection, Mapping
from typing import Any

# vLLM has dropped them, or runs their language part alone; transformers still has them whole.
TRANSFORMERS_ENGINE = frozenset(
    {
        "ChameleonForConditionalGeneration",
        "DeepseekVLForConditionalGeneration",
        "DeepseekVLHybridForConditionalGeneration",
        "FuyuForCausalLM",
        "Idefics2ForConditionalGeneration",
        "MllamaForConditionalGeneration",
    }
)

# A checkpoint has one of these in its configuration if it takes images, whatever class its architecture resolves to.
VISION_FIELDS = (
    "vision_config",
    "vq_config",
    "vision_tower",
    "mm_vision_tower",
    "visual",
    "image_token_id",
    "image_token_index",
)

# What takes the place of an architecture that nothing here can run.
_QWEN_VL = "Qwen/Qwen2.5-VL-7B-Instruct"
_LLAVA = "llava-hf/llava-1.5-7b-hf, or another checkpoint that llava-hf has converted"
SUCCESSORS: Mapping[str, str] = {
    "QWenLMHeadModel": _QWEN_VL,
    "QwenVLForConditionalGeneration": _QWEN_VL,
    "CogVLMForCausalLM": "zai-org/GLM-4.1V-9B-Thinking",
    "OmniLMMForCausalLM": "openbmb/MiniCPM-V-4_5",
    "GlmForCausalLM": "zai-org/GLM-4.1V-9B-Thinking",
    "DeepseekVLV2ForCausalLM": "deepseek-ai/deepseek-vl2",
    "MultiModalityCausalLM": "deepseek-community/deepseek-vl-7b-chat, the same model in transformers' format",
    "LlavaLlamaForCausalLM": _LLAVA,
    "LlavaMistralForCausalLM": _LLAVA,
    "LlavaQwenForCausalLM": "llava-hf/llava-onevision-qwen2-7b-ov-hf",
    "MantisForConditionalGeneration": "llava-hf/llava-onevision-qwen2-7b-ov-hf",
    "TarsierForConditionalGeneration": "llava-hf/LLaVA-NeXT-Video-7B-hf",
    "Tarsier2ForConditionalGeneration": "Qwen/Qwen2-VL-7B-Instruct, which it was trained from",
    "Phi4MultimodalForCausalLM": "microsoft/Phi-4-multimodal-instruct at its main revision",
    "InternLM2VEForCausalLM": "OpenGVLab/InternVL3-8B",
    "MiniMaxVL01ForConditionalGeneration": _QWEN_VL,
    "HCXVisionForCausalLM": _QWEN_VL,
    "DonutForConditionalGeneration": "rednote-hilab/dots.ocr",
    "Florence2ForConditionalGeneration": _QWEN_VL,
}
# Of families that exist only as code for transformers 4, which the transformers of today cannot run.
_CODE_FOR_TRANSFORMERS_4 = frozenset({"QWenLMHeadModel", "CogVLMForCausalLM", "OmniLMMForCausalLM", "GlmForCausalLM"})


def architectures(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The names in config.json; vLLM takes the first that it knows."""
    return tuple(config.get("architectures") or ())


def vision_field(config: Mapping[str, Any]) -> str | None:
    """The field which shows that this is the configuration of a model that takes images."""
    return next((name for name in VISION_FIELDS if config.get(name) is not None), None)


def hf_overrides(config: Mapping[str, Any]) -> dict[str, Any]:
    """What vLLM needs for a checkpoint whose architecture it has under another name, or computes otherwise than the authors;
    else nothing."""
    named = set(architectures(config))
    # The language part of both is the architecture of text-only models, which vLLM would take it for.
    if config.get("vision_config") is not None and named & {"ChatGLMModel", "ChatGLMForConditionalGeneration"}:
        return {"architectures": ["GLM4VForCausalLM"]}
    if config.get("model_type") == "deepseek_vl_v2" and named <= {"DeepseekV2ForCausalLM", "DeepseekVLV2ForCausalLM"}:
        return {} if "DeepseekVLV2ForCausalLM" in named else {"architectures": ["DeepseekVLV2ForCausalLM"]}
    if config.get("model_type") == "aya_vision":
        # vLLM multiplies the logits by the scale of the language model, which transformers' Aya Vision does not.
        return {"text_config": {"logit_scale": 1.0}}
    return {}


def needs_transformers_4(config: Mapping[str, Any]) -> bool:
    """Whether this is a vision model whose only code was written for transformers 4."""
    return bool(_CODE_FOR_TRANSFORMERS_4.intersection(architectures(config))) and vision_field(config) is not None


def successor(names: Collection[str]) -> str:
    """The sentence that names the nearest model that works; "" if none is known."""
    found = next((SUCCESSORS[name] for name in names if name in SUCCESSORS), None)
    return f" The nearest model that works is {found}." if found else ""


def text_only_refusal(model: str, field: str, names: Collection[str]) -> str:
    """vLLM would run the language part of a vision checkpoint, and answer without having seen the images."""
    return (
        f"{model} is a vision checkpoint (its config has {field}), but this vLLM runs its architecture "
        f"{', '.join(names) or 'unknown'} as text only and would ignore every image. Choose another model, or set "
        f"OPTION_LANGUAGE_MODEL_ONLY=true to serve its language part on purpose.{successor(names)}"
    )
