"""Which engine serves which architecture, by vLLM's own tables."""

import pytest

from handler.engines.architectures import SUCCESSORS, TRANSFORMERS_ENGINE
from handler.engines.assignment import BACKEND, REMOTE, TRANSFORMERS, VLLM, assign
from handler.engines.vllm.registry import read_registry
from handler.errors import StartError

VISION = {"vision_config": {}, "text_config": {}}


def assigned(*names, arguments=(), **config):
    return assign("m", {"architectures": list(names), **config}, dict(arguments))


def refusal(*names, arguments=(), **config):
    with pytest.raises(StartError) as refused:
        assigned(*names, arguments=arguments, **config)
    return str(refused.value)


@pytest.mark.parametrize(
    ("name", "engine", "takes"),
    [
        ("LlavaForConditionalGeneration", VLLM, ("image",)),
        ("Qwen2_5_VLForConditionalGeneration", VLLM, ("image", "video")),
        ("Qwen2_5OmniModel", VLLM, ("image", "video", "audio")),
        ("Qwen2AudioForConditionalGeneration", VLLM, ("audio",)),
        ("KimiK25ForConditionalGeneration", VLLM, ("image", "video")),
        ("HunYuanVLForConditionalGeneration", BACKEND, ("image",)),
        ("AyaVisionForConditionalGeneration", BACKEND, ("image",)),  # dropped, but transformers' class suits vLLM
        ("MllamaForConditionalGeneration", TRANSFORMERS, ("image",)),
    ],
)
def test_a_vision_model_has_its_engine_and_modalities(name, engine, takes):
    found = assigned(name, **VISION)
    assert (found.engine, found.modalities) == (engine, takes)


def test_a_text_model_takes_text():
    assert assigned("LlamaForCausalLM").modalities == ()
    assert assigned("OlmoForCausalLM").engine == BACKEND


def test_the_code_of_a_repository_is_left_to_vllm():
    assert assigned("ZooForCausalLM", auto_map={"AutoModelForCausalLM": "zoo.Zoo"}).engine == REMOTE


def test_every_multimodal_architecture_of_vllm_takes_something():
    registry = read_registry()
    silent = {name for name in registry.multimodal if not registry.modalities(name)}
    assert silent <= registry.backend  # theirs are in the class of transformers


def test_vllm_has_none_of_those_that_transformers_serves():
    registry = read_registry()
    assert not TRANSFORMERS_ENGINE & registry.models.keys()


def test_each_dropped_vision_model_has_a_successor_or_an_engine():
    registry = read_registry()
    vision = {name for name in registry.dropped if "ConditionalGeneration" in name or "Vision" in name or "VL" in name}
    unserved = {name for name in vision if name not in TRANSFORMERS_ENGINE and name not in SUCCESSORS}
    # Aya's class in transformers suits vLLM; the others make or read no image.
    assert unserved == {
        "AyaVisionForConditionalGeneration",
        "CheersForConditionalGeneration",
        "FireRedLIDForConditionalGeneration",
        "MusicFlamingoForConditionalGeneration",
    }


@pytest.mark.parametrize(
    ("name", "fields", "told"),
    [
        ("ChatGLMModel", {"vision_config": {}, "model_type": "chatglm"}, "GLM4VForCausalLM"),
        ("DeepseekV2ForCausalLM", {"vision_config": {}, "model_type": "deepseek_vl_v2"}, "DeepseekVLV2ForCausalLM"),
    ],
)
def test_another_name_of_an_architecture_is_told_to_vllm(name, fields, told):
    assert assigned(name, **fields).overrides == {"architectures": [told]}
    assert assigned(name, **fields).model_class == told


def test_what_the_operator_tells_vllm_wins():
    own = {"hf_overrides": '{"architectures": ["LlavaForConditionalGeneration"]}'}
    found = assigned("ChatGLMModel", vision_config={}, arguments=own)
    assert (found.overrides, found.model_class) == ({}, "LlavaForConditionalGeneration")


def test_the_text_model_and_the_ocr_model_of_such_a_family_keep_their_names():
    assert assigned("ChatGLMModel").overrides == {}
    ocr = assigned("DeepseekOCRForCausalLM", model_type="deepseek_vl_v2", vision_config={})
    assert (ocr.overrides, ocr.model_class) == ({}, "DeepseekOCRForCausalLM")


@pytest.mark.parametrize(
    ("name", "fields", "words"),
    [
        (
            "Tarsier2ForConditionalGeneration",
            VISION,
            "vLLM 0.23.0 was the last that had it. The nearest model that works is",
        ),
        ("Florence2ForConditionalGeneration", VISION, "only through a plugin (https://"),
        (
            "LlavaLlamaForCausalLM",
            {"mm_vision_tower": "x"},
            "neither vLLM 0.32.0 nor transformers has its architecture",
        ),
        ("QWenLMHeadModel", {"visual": {}}, "code for transformers 4, and vLLM 0.23.0 was the last that had it"),
        (
            "CogVLMForCausalLM",
            {"vision_config": {}, "auto_map": {"AutoModelForCausalLM": "x"}},
            "vLLM has never had it",
        ),
        ("OmniLMMForCausalLM", {"mm_vision_tower": "x"}, "The nearest model that works is openbmb/MiniCPM-V"),
        ("GlmForCausalLM", {"vision_config": {}}, "code for transformers 4"),
        ("LlamaForCausalLM", {"vision_config": {}}, "as text only and would ignore every image"),
    ],
)
def test_a_model_that_nothing_can_serve_is_refused_with_the_nearest_that_works(name, fields, words):
    assert words in refusal(name, **fields)


@pytest.mark.parametrize("method", ["bitsandbytes", "smoothquant", "eetq"])
def test_a_method_of_quantisation_that_vllm_lacks_is_refused(method):
    with pytest.raises(StartError, match=f"quantize={method} cannot be served: .* has no such method"):
        assign("m", {"architectures": ["LlavaForConditionalGeneration"]}, {"quantization": method})
    assert assign("m", {"architectures": ["LlavaForConditionalGeneration"]}, {"quantization": "fp8"})


def test_a_quantisation_that_vllm_lacks_is_refused():
    four = {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}
    assert "bitsandbytes" not in read_registry().quantisations
    assert "cannot read weights quantised by bitsandbytes" in refusal("LlavaForConditionalGeneration", **four)
    awq = {"quantization_config": {"quant_method": "awq", "bits": 4}}
    assert assigned("LlavaForConditionalGeneration", **awq).engine == VLLM


def test_a_configuration_without_architectures_is_refused():
    assert "OPTION_HF_OVERRIDES" in refusal()


def test_the_language_part_of_a_vision_checkpoint_is_served_on_purpose():
    alone = {"language_model_only": "true"}
    assert assigned("LlavaForConditionalGeneration", arguments=alone, **VISION).modalities == ()
    assert assigned("GlmForCausalLM", arguments=alone, vision_config={}).modalities == ()


def test_aya_visions_logits_are_those_of_its_authors():
    fields = {"model_type": "aya_vision", "vision_config": {}, "text_config": {"logit_scale": 0.25}}
    assert assigned("AyaVisionForConditionalGeneration", **fields).overrides == {"text_config": {"logit_scale": 1.0}}
