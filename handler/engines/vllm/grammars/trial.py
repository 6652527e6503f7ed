"""What vLLM would do with a grammar, done in a process that may die of it: validate, compile, mask the first tokens."""

import contextlib
import dataclasses
import faulthandler
import json
import os
import random
import resource
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from vllm.config import VllmConfig
from vllm.sampling_params import SamplingParams, StructuredOutputsParams
from vllm.tokenizers import cached_tokenizer_from_config
from vllm.v1.structured_output.backend_guidance import GuidanceBackend
from vllm.v1.structured_output.backend_lm_format_enforcer import LMFormatEnforcerBackend
from vllm.v1.structured_output.backend_outlines import OutlinesBackend
from vllm.v1.structured_output.backend_types import StructuredOutputBackend, StructuredOutputGrammar
from vllm.v1.structured_output.backend_xgrammar import XgrammarBackend
from vllm.v1.structured_output.request import get_structured_output_key

BACKENDS = {
    "xgrammar": XgrammarBackend,
    "guidance": GuidanceBackend,
    "outlines": OutlinesBackend,
    "lm-format-enforcer": LMFormatEnforcerBackend,
}
TOKENS = 32
MASK_SECONDS = 0.1  # the engine makes the masks between two steps, which every request in the batch waits for
# Half of what a thread has by default: what passes here has room there.
STACK_BYTES = 4 * 2**20
# The stacks of the compiler's threads, of which hardly anything is used. It hangs when it cannot start them.
THREADS_BYTES = 128 * 2**20
MEMORY, MASKS = "memory", "masks"


class TooSlow(Exception):
    """The mask of one token takes too long."""


class Bench:
    """The tokenizer and the backend, ready before a trial is forked. `choose_backend` must have chosen."""

    def __init__(self, config: VllmConfig) -> None:
        self._config = config
        self._tokenizer = cached_tokenizer_from_config(model_config=config.model_config)
        self._backend: StructuredOutputBackend | None = None
        with contextlib.suppress(Exception):  # a tokenizer that it does not support: each trial fails and says so
            self._backend = self._new_backend()

    def try_out(self, params: StructuredOutputsParams) -> None:
        """Raises what vLLM would raise; `params` are then as vLLM's validation leaves them."""
        sampling = SamplingParams(structured_outputs=params)
        sampling._validate_structured_outputs(  # noqa: SLF001  # what InputProcessor calls
            self._config.model_config, self._config.structured_outputs_config, self._tokenizer
        )
        backend = self._backend or self._new_backend()
        grammar = backend.compile_grammar(*get_structured_output_key(params), stop_token_ids=None)
        _generate(backend, grammar)

    def _new_backend(self) -> StructuredOutputBackend:
        kind = BACKENDS[self._config.structured_outputs_config.backend]
        vocabulary = self._config.model_config.get_vocab_size()
        return kind(self._config, tokenizer=self._tokenizer, vocab_size=vocabulary)


def run_trial(bench: Bench, job: bytes) -> bytes:
    """The verdict on a job, as JSON: `refused` with the message, `exceeded` with the limit, or `passed` with the
    parameters as they were validated."""
    parameters, limits = json.loads(job)
    params = StructuredOutputsParams(**parameters)
    verdict: Mapping[str, Any]
    try:
        _limit_process(**limits)
        bench.try_out(params)
        fields = [field.name for field in dataclasses.fields(params)]
        verdict = {"passed": {name: v for name in fields if (v := getattr(params, name)) != parameters.get(name)}}
    except MemoryError:
        verdict = {"exceeded": MEMORY}
    except TooSlow:
        verdict = {"exceeded": MASKS}
    except BaseException as fault:  # noqa: BLE001  # whatever the compilers raise; a panic in Rust is no Exception
        message = str(fault.args[0]) if fault.args else type(fault).__name__
        verdict = {"exceeded": MEMORY} if "bad_alloc" in message else {"refused": message[:300]}
    return json.dumps(verdict).encode()


def longest_wait(seconds: float) -> float:
    """Seconds on the clock for a trial that may compute for `seconds`: it may not sleep forever, but the machine may be busy."""
    return 10 + 5 * seconds


def _limit_process(seconds: float, memory: int) -> None:
    """Have the kernel end this process when it has computed for `seconds`, and refuse it more than `memory` bytes. What it
    prints is lost."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, longest_wait(seconds))
    status = Path("/proc/self/status").read_text()
    before = int(status.partition("VmData:")[2].split()[0]) * 1024
    for limit, value in (
        (resource.RLIMIT_DATA, before + THREADS_BYTES + memory),
        (resource.RLIMIT_STACK, STACK_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(limit)
        resource.setrlimit(limit, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
    threading.stack_size(STACK_BYTES)
    faulthandler.disable()  # it would log the stack of a crash that is expected
    silence = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):  # the compilers write there what they read
        os.dup2(silence, output)
    with contextlib.suppress(OSError):  # if the machine has no memory left, this goes before the server does
        Path("/proc/self/oom_score_adj").write_text("1000")


def _generate(backend: StructuredOutputBackend, grammar: StructuredOutputGrammar) -> None:
    """Make the masks of some tokens, drawn from those that the grammar allows. Raises TooSlow."""
    draw = random.Random(0)  # noqa: S311  # the same tokens each time
    mask = backend.allocate_token_bitmask(1)
    for _ in range(TOKENS):
        begun = time.thread_time()
        grammar.fill_bitmask(mask, 0)
        if time.thread_time() - begun > MASK_SECONDS:
            raise TooSlow
        allowed = np.flatnonzero(np.unpackbits(mask[0].numpy().view(np.uint8), bitorder="little"))
        if not allowed.size or not grammar.accept_tokens("trial", [int(draw.choice(allowed))]):
            return
        if grammar.is_terminated():
            return
