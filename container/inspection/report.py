"""ModelReport: what is known of a model before it is loaded; nothing here prints."""

from dataclasses import dataclass

from container.options import Options
from handler.checkpoint.chat_template import template_source
from handler.checkpoint.files import ModelFiles
from handler.engines.assignment import Assignment
from handler.engines.inspection import inspect
from handler.engines.vllm.registry import has_fallback_template


@dataclass(frozen=True, slots=True)
class ModelReport:
    """`template` is where the chat template comes from, None if there is none."""

    assignment: Assignment
    template: str | None


def report_on(files: ModelFiles, options: Options) -> ModelReport:
    """Raises StartError where a start would, with the same sentence."""
    found = inspect(files, {**options.vllm_arguments(), **options.engine_arguments})
    family = str(found.config.get("model_type", ""))
    fallback = f"vLLM's own for {family}" if has_fallback_template(family) else None
    return ModelReport(found.assignment, template_source(files, options.chat_template, fallback))
