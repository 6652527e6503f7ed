"""A ModelReport as the lines that `check` prints."""

import json
from collections.abc import Iterator

from container.inspection.fit import Fit
from container.inspection.report import ModelReport
from container.model_store.progress import format_bytes
from handler.checkpoint.memory import KvCache
from handler.checkpoint.parts import Part

_SUPPORTED = ("image",)  # what handler.payload accepts
_NO_TEMPLATE = "none: `messages` needs OPTION_CHAT_TEMPLATE; `prompt` and `inputs` do not"
_UNKNOWN = "not in the model's files"


def describe(report: ModelReport) -> str:
    """One line to a fact: what it is, and its value."""
    rows = [*_rows(report), *_memory(report), *_instances(report)]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in rows)


def _rows(report: ModelReport) -> Iterator[tuple[str, str]]:
    assignment = report.assignment
    yield "engine", assignment.engine
    yield "model class", assignment.model_class
    if assignment.overrides:
        yield "set for vLLM", f"OPTION_HF_OVERRIDES={json.dumps(dict(assignment.overrides))}"
    unsupported = [name for name in assignment.modalities if name not in _SUPPORTED]
    takes = ", ".join(("text", *(name for name in assignment.modalities if name in _SUPPORTED)))
    yield (
        "takes",
        takes + (f" (its class also takes {' and '.join(unsupported)}: not supported yet)" if unsupported else ""),
    )
    yield "chat template", report.template or _NO_TEMPLATE
    yield "context", f"{report.context} tokens" if report.context else _UNKNOWN


def _memory(report: ModelReport) -> Iterator[tuple[str, str]]:
    for part in report.parts:
        yield part.name, _part(part, report.loaded[part.name])
    if report.kv is not None:
        yield "KV cache", _kv(report.kv, report.max_tokens)
    if report.image_tokens is not None:
        size = f", about {format_bytes(report.encoder)} in the encoder" if report.encoder else ""
        yield "largest image", f"{report.image_tokens} tokens{size}"
    elif "image" in report.assignment.modalities:
        yield "largest image", "its tokens are known only once the processor runs"


def _part(part: Part, loaded: int) -> str:
    kinds = ", ".join(f"{kind} {format_bytes(size)}" for kind, size in sorted(part.bytes_by_type.items()))
    return f"{part.parameters / 1e6:,.1f} million parameters; {kinds}; {format_bytes(loaded)} when loaded"


def _kv(kv: KvCache, max_tokens: int | None) -> str:
    window = f" ({kv.window_bytes} of them for the last {kv.window} tokens only)" if kv.window_bytes else ""
    longest = f"; {format_bytes(kv.bytes_of(max_tokens))} for {max_tokens} tokens" if max_tokens else ""
    return f"{kv.token_bytes} bytes a token{window}{longest}"


def _instances(report: ModelReport) -> Iterator[tuple[str, str]]:
    for fit in report.fits:
        yield fit.instance.name, _fit(fit)
    if report.parts and not report.fits:
        yield (
            "instance types",
            "none fits alone: choose a smaller or quantised model, or several nodes (docs/deploy.md)",
        )


def _fit(fit: Fit) -> str:
    kind = f"{fit.instance.gpus} x {fit.instance.gpu} with {fit.instance.gpu_gib} GiB"
    shared = f" on each of {fit.degree} GPUs" if fit.degree > 1 else ""
    weights = f"weights {format_bytes(fit.weight_bytes)}{shared}"
    if not fit.fits:
        return f"does NOT fit ({kind}; {weights}). Change one: {'; '.join(fit.cures)}"
    requests = f", {fit.concurrency:.1f} requests of the maximum length at once" if fit.concurrency else ""
    return f"fits ({kind}; {weights}, {format_bytes(fit.free_bytes)} for the KV cache{requests}; an estimate)"
