"""A logits processor for vLLM, which runs in its engine core: a request with `{"vllm_xargs": {"deadly": 1}}` ends the process."""

import os
import signal

from vllm.v1.sample.logits_processor import LogitsProcessor


class Deadly(LogitsProcessor):
    def __init__(self, vllm_config, device, is_pin_memory):
        pass

    def update_state(self, batch_update):
        for _, parameters, *_ in batch_update.added if batch_update is not None else ():
            if (parameters.extra_args or {}).get("deadly"):
                os.kill(os.getpid(), signal.SIGKILL)

    def apply(self, logits):
        return logits

    def is_argmax_invariant(self):
        return True
