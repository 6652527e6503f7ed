"""The deployments that AWS, its samples and djl-serving publish, and how a test starts one."""

import json
import re
from pathlib import Path
from typing import Any

from container.options import Resolved, resolve
from container.options.sources.settings import option_name
from handler.engines.vllm import field_names
from tests.option_cases import write_properties
from tests.user_code import write

PUBLISHED = json.loads((Path(__file__).parent / "published" / "deployments.json").read_text())
DEPLOYMENTS = PUBLISHED["deployments"]
STORE = "/opt/ml/model"
MODEL_NAMES = ("model_id", "model", "s3url", "hf_model_id", "sm_vllm_model")


def settings(deployment: dict[str, Any], directory: Path) -> dict[str, tuple[str, str]]:
    """By the name of the option: the label and the text, with `directory` in place of the model directory."""
    found = {}
    for label, text in deployment["settings"].items():
        name = option_name(re.sub(r"^option[._]", "", label, flags=re.IGNORECASE))
        found[name] = (label, text.replace(STORE, str(directory)))
    return found


def start(deployment: dict[str, Any], directory: Path) -> Resolved:
    """What the deployment resolves to. Its code, or its model if it names none, is in the model directory."""
    named = settings(deployment, directory)
    for name in ("entry_point", "entrypoint"):
        _, code = named.get(name, ("", "djl_python"))
        if not code.startswith("djl_python"):
            write(
                directory, "def handle(inputs): ...", code if code.endswith(".py") else f"{code.replace('.', '/')}.py"
            )
    if all(named[name][1].startswith(str(directory)) for name in MODEL_NAMES if name in named):
        (directory / "config.json").write_text("{}")
    environ = dict(named.values())
    if deployment["in"] == "serving.properties":
        write_properties(directory, "".join(f"{label}={text}\n" for label, text in environ.items()))
        environ = {}
    return resolve(environ, engine_fields=field_names, model_directory=directory)
