"""A ModelReport as the lines that `check` prints."""

import json
from collections.abc import Iterator

from container.inspection.report import ModelReport

_NO_TEMPLATE = "none: `messages` needs OPTION_CHAT_TEMPLATE; `prompt` and `inputs` do not"


def describe(report: ModelReport) -> str:
    """One line to a fact: what it is, and its value."""
    rows = list(_rows(report))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in rows)


def _rows(report: ModelReport) -> Iterator[tuple[str, str]]:
    assignment = report.assignment
    yield "engine", assignment.engine
    yield "model class", assignment.model_class
    if assignment.overrides:
        yield "told to vLLM", f"OPTION_HF_OVERRIDES={json.dumps(dict(assignment.overrides))}"
    yield "takes", ", ".join(("text", *assignment.modalities))
    yield "chat template", report.template or _NO_TEMPLATE
