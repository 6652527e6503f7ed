"""A directory -> where vLLM and what it compiles with keep their work from one start to the next."""

from pathlib import Path

from handler.errors import OptionError

# What each calls the directory of its cache.
_VARIABLES = {
    "VLLM_CACHE_ROOT": "vllm",  # the graphs that torch.compile made, and what was learnt about models' classes
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TRITON_CACHE_DIR": "triton",
    "FLASHINFER_WORKSPACE_BASE": "flashinfer",
    "CUDA_CACHE_PATH": "cuda",
}


def kept_in(directory: str) -> dict[str, str]:
    """The environment with which everything that is compiled is kept in `directory`.

    Raises OptionError where it cannot be written: each start would compile anew, and nobody would know why.
    """
    root = Path(directory)
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe = root / ".lumi"
        probe.touch()
        probe.unlink()
    except OSError as fault:
        raise OptionError(
            f"OPTION_COMPILE_CACHE_DIR={directory!r} cannot be written to ({fault.strerror}); mount a volume there that "
            "this user may write to, or leave the option out."
        ) from fault
    return {variable: str(root / name) for variable, name in _VARIABLES.items()}
