"""VllmSettings: what vLLM is started with. Importing this does not import vllm."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from handler.checkpoint.divisible_sizes import DivisibleSizes
from handler.engines.vllm.grammars.limits import GrammarLimits

# What vLLM reads from the environment and an operator has not set. Spawn is what vLLM's own server uses: CUDA does not
# survive a fork. No usage is reported.
ENVIRONMENT: Mapping[str, str] = {
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    # The CPU build pins one thread to each core: fine for a machine of its own, ruinous for a laptop or a container with
    # a share of one.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    # Answers that one request may ask for. vLLM's 16384 lets a single client fill the batch for minutes.
    "VLLM_MAX_N_SEQUENCES": "128",
    # Bytes of the embeddings of an image, which a sparse tensor of a few bytes can declare. vLLM's limit is 2 GiB.
    "VLLM_MAX_EMBED_DECODE_BYTES": str(2**28),
    # A regular expression reaches the engine when a trial has compiled it. vLLM's limit would refuse it on a busy machine,
    # and leave the thread that compiles it behind.
    "VLLM_REGEX_COMPILATION_TIMEOUT_S": "0",
}


@dataclass(frozen=True, slots=True)
class VllmSettings:
    """What vLLM is started with: its engine arguments by name, and the settings of its front end.

    `arguments` are typed and become AsyncEngineArgs as they are; `texts` are those that only vLLM's parser can read, and
    `described` is how the operator set each, for messages.
    """

    arguments: Mapping[str, Any]
    names: tuple[str, ...]
    texts: Mapping[str, str] = field(default_factory=dict)
    described: Mapping[str, str] = field(default_factory=dict)
    chat_template: str | None = None
    chat_template_content_format: str = "auto"
    enable_auto_tool_choice: bool = False
    tool_call_parser: str | None = None
    reasoning_parser: str | None = None
    default_chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    grammars: GrammarLimits = field(default_factory=GrammarLimits)
    sizes: DivisibleSizes | None = None  # of the model, once its files are here
