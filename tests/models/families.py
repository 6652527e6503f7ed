"""The families: what each is called, and where its answers are known to differ from transformers', with the reason.

`tests/models/checkpoints/<name>.py` makes the checkpoint of the family <name>. Its `reference` says where the form of the
model is that transformers has, if that is another one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.models.chats import WITH_IMAGES


@dataclass(frozen=True)
class Difference:
    """Chats whose prompt ids, or whose answers, differ, and why. A chat that one side refuses is in both."""

    reason: str
    prompts: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Family:
    """`hub` is a checkpoint on the hub that the small one is like. `environ` has the options that its start needs.
    `always` is whether every run of the tests has it, or only `--all`."""

    name: str
    architecture: str
    hub: str
    modalities: str = "image"
    environ: Mapping[str, str] = field(default_factory=dict)
    differences: tuple[Difference, ...] = ()
    always: bool = False

    def expected(self, kind: str) -> frozenset[str]:
        """The chats that are expected to differ in `kind`: prompts or answers."""
        return frozenset(chat for difference in self.differences for chat in getattr(difference, kind))


GEMMA3N = (
    "<end_of_image> is embedded by the table of the text, in vLLM. In transformers it is by the vision's own: "
    "with equal rows in both tables, all log probabilities are equal within 1.3e-5."
)
INTERNVL = "The pixels differ by rounding: vLLM resizes with Pillow as the repository's own example does, transformers with torchvision."
FAMILIES = (
    Family("llava", "LlavaForConditionalGeneration", "llava-hf/llava-1.5-7b-hf", always=True),
    Family("llava_next", "LlavaNextForConditionalGeneration", "llava-hf/llava-v1.6-mistral-7b-hf", always=True),
    Family("qwen2_vl", "Qwen2VLForConditionalGeneration", "Qwen/Qwen2-VL-2B-Instruct", always=True),
    Family(
        "gemma3n",
        "Gemma3nForConditionalGeneration",
        "google/gemma-3n-E2B-it",
        differences=(Difference(GEMMA3N, answers=WITH_IMAGES),),
    ),
    Family("llama4", "Llama4ForConditionalGeneration", "meta-llama/Llama-4-Scout-17B-16E-Instruct"),
    Family(
        "internvl_chat",
        "InternVLChatModel",
        "OpenGVLab/InternVL3-1B",
        environ={"OPTION_TRUST_REMOTE_CODE": "true"},
        differences=(Difference(INTERNVL, answers=WITH_IMAGES),),
    ),
)
