"""The families: what each is called, and where its answers are known to differ from transformers', with the reason.

`tests/models/checkpoints/<name>.py` makes the checkpoint of the family <name>. Its `reference` says where the form of the
model is that transformers has, if that is another one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.models.chats import CHATS, WITH_IMAGES, WITH_TWO


@dataclass(frozen=True)
class Difference:
    """Chats whose prompt ids, or whose answers, differ, and why. A chat that one side refuses is in both."""

    reason: str
    prompts: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Family:
    """`hub` is a checkpoint on the hub that the small one is like. `chats` are those that the family can be asked.
    `environ` has the options that its start needs. `always` is whether every run of the tests has it, or only `--all`."""

    name: str
    architecture: str
    hub: str
    chats: tuple[str, ...] = tuple(CHATS)
    engine: str = "vLLM"
    modalities: str = "image"
    environ: Mapping[str, str] = field(default_factory=dict)
    differences: tuple[Difference, ...] = ()
    always: bool = False

    def expected(self, kind: str) -> frozenset[str]:
        """The chats that are expected to differ in `kind`: prompts or answers."""
        return frozenset(chat for difference in self.differences for chat in getattr(difference, kind))


_GEMMA3N = (
    "<end_of_image> is embedded by the table of the text, in vLLM. In transformers it is by the vision's own: "
    "with equal rows in both tables, all log probabilities are equal within 1.3e-5."
)
_INTERNVL = "The pixels differ by rounding: vLLM resizes with Pillow as the repository's own example does, transformers with torchvision."
_CAUSAL = "On a CPU vLLM attends causally inside images, where the authors attend in both directions."
_TURNED = (
    "mistral_common, the authors' own, puts a lone image before a lone text, which transformers' template does not."
)
_RESIZED = (
    "mistral_common resizes with OpenCV, transformers with torchvision: an image whose sides are multiples of 16 gives equal "
    "log probabilities within 6e-6."
)

FAMILIES = (
    Family("llava", "LlavaForConditionalGeneration", "llava-hf/llava-1.5-7b-hf", always=True),
    Family("llava_next", "LlavaNextForConditionalGeneration", "llava-hf/llava-v1.6-mistral-7b-hf", always=True),
    Family(
        "paligemma",
        "PaliGemmaForConditionalGeneration",
        "google/paligemma-3b-pt-224",
        chats=("image before text", "image after text", "1000x330", "31x12"),
        environ={"OPTION_LIMIT_MM_PER_PROMPT": '{"image": 1}'},
        differences=(Difference(_CAUSAL, answers=("image before text", "image after text", "1000x330", "31x12")),),
        always=True,
    ),
    Family("qwen2_vl", "Qwen2VLForConditionalGeneration", "Qwen/Qwen2-VL-2B-Instruct", always=True),
    Family("qwen2_5_vl", "Qwen2_5_VLForConditionalGeneration", "Qwen/Qwen2.5-VL-3B-Instruct", always=True),
    Family("qwen3_vl", "Qwen3VLForConditionalGeneration", "Qwen/Qwen3-VL-4B-Instruct", always=True),
    Family(
        "gemma3",
        "Gemma3ForConditionalGeneration",
        "google/gemma-3-4b-it",
        differences=(Difference(_CAUSAL, answers=WITH_IMAGES),),
        always=True,
    ),
    Family("internvl", "InternVLForConditionalGeneration", "OpenGVLab/InternVL3-1B-hf", always=True),
    Family("pixtral", "LlavaForConditionalGeneration", "mistral-community/pixtral-12b", always=True),
    Family("idefics3", "Idefics3ForConditionalGeneration", "HuggingFaceM4/Idefics3-8B-Llama3", always=True),
    Family("glm4v", "Glm4vForConditionalGeneration", "zai-org/GLM-4.1V-9B-Thinking", always=True),
    Family(
        "mistral3", "Mistral3ForConditionalGeneration", "mistralai/Mistral-Small-3.1-24B-Instruct-2503", always=True
    ),
    Family("smolvlm", "SmolVLMForConditionalGeneration", "HuggingFaceTB/SmolVLM-256M-Instruct"),
    Family(
        "llava_onevision",
        "LlavaOnevisionForConditionalGeneration",
        "llava-hf/llava-onevision-qwen2-0.5b-ov-hf",
        differences=(
            Difference(
                "Several images: the authors drop the tiles and keep one view of each image, vLLM keeps its tiles (58 and 318 "
                "prompt tokens for two images). No argument of the processor has the authors' way.",
                prompts=WITH_TWO,
                answers=WITH_TWO,
            ),
        ),
    ),
    Family("aya_vision", "AyaVisionForConditionalGeneration", "CohereLabs/aya-vision-8b"),
    Family(
        "gemma3n",
        "Gemma3nForConditionalGeneration",
        "google/gemma-3n-E2B-it",
        differences=(Difference(_GEMMA3N, answers=WITH_IMAGES),),
    ),
    Family("llama4", "Llama4ForConditionalGeneration", "meta-llama/Llama-4-Scout-17B-16E-Instruct"),
    Family(
        "internvl_chat",
        "InternVLChatModel",
        "OpenGVLab/InternVL3-1B",
        environ={"OPTION_TRUST_REMOTE_CODE": "true"},
        differences=(Difference(_INTERNVL, answers=WITH_IMAGES),),
    ),
    Family(
        "pixtral_mistral",
        "PixtralForConditionalGeneration",
        "mistralai/Pixtral-12B-2409",
        differences=(
            Difference(_TURNED, prompts=("image after text",)),
            Difference(_RESIZED, answers=WITH_IMAGES),
        ),
    ),
    Family(
        "mllama",
        "MllamaForConditionalGeneration",
        "meta-llama/Llama-3.2-11B-Vision-Instruct",
        engine="transformers",
        always=True,
    ),
    Family("idefics2", "Idefics2ForConditionalGeneration", "HuggingFaceM4/idefics2-8b-chatty", engine="transformers"),
    Family("chameleon", "ChameleonForConditionalGeneration", "facebook/chameleon-7b", engine="transformers"),
    Family(
        "fuyu",
        "FuyuForCausalLM",
        "adept/fuyu-8b",
        engine="transformers",
        chats=tuple(chat for chat in CHATS if chat not in WITH_TWO),
    ),
    Family(
        "deepseek_vl",
        "DeepseekVLForConditionalGeneration",
        "deepseek-community/deepseek-vl-1.3b-chat",
        engine="transformers",
    ),
    Family(
        "deepseek_vl_hybrid",
        "DeepseekVLHybridForConditionalGeneration",
        "deepseek-community/deepseek-vl-7b-chat",
        engine="transformers",
    ),
)
