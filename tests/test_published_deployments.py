"""Every published deployment, given to a start: docs/published.md counts the verdicts."""

import re
from pathlib import Path
from typing import Any

import pytest

from handler.errors import OptionError
from tests.published_deployments import DEPLOYMENTS, PUBLISHED, start


def names_in(sentences: list[str]) -> list[str]:
    return list(dict.fromkeys(match[1] for line in sentences if (match := re.match(r"([\w.-]+)=", line))))


def verdict(deployment: dict[str, Any], directory: Path) -> tuple[str, list[str], list[str]]:
    """What a start does, the settings that it names, and what it says of them."""
    directory.mkdir()
    try:
        found = list(start(deployment, directory).warnings)
    except OptionError as fault:
        found = str(fault).splitlines()
        return "refused", names_in(found), found
    return ("warns" if found else "ok"), names_in(found), found


@pytest.mark.parametrize("repository", PUBLISHED["repositories"])
def test_the_published_deployments_of_a_repository_get_their_verdicts(repository: str, tmp_path: Path):
    different = []
    for number, one in enumerate(DEPLOYMENTS):
        if one["source"].startswith(f"{repository}:"):
            found, names, sentences = verdict(one, tmp_path / str(number))
            if (found, names) != (one["verdict"], one.get("names", [])):
                different.append((one["source"], one["settings"], found, sentences))
    assert not different


def test_what_is_published_for_lmi_with_vllm_is_refused_only_for_a_reason_that_is_written_down():
    refused = [one for one in DEPLOYMENTS if one["verdict"] == "refused"]
    assert all(one["why"] for one in refused)
    assert not any("is not an option" in one["why"] for one in refused)
    assert sum(one["image"] in ("lmi", "vllm", "tgi") for one in refused) <= 3


def test_the_options_of_published_deployments_are_in_force(tmp_path: Path):
    read = {
        "HF_MODEL_ID": "model_id",
        "SM_VLLM_MODEL": "model_id",
        "OPTION_TENSOR_PARALLEL_DEGREE": "tensor_parallel_degree",
        "SM_NUM_GPUS": "tensor_parallel_degree",
        "SM_VLLM_TENSOR_PARALLEL_SIZE": "tensor_parallel_degree",
        "OPTION_MAX_ROLLING_BATCH_SIZE": "max_rolling_batch_size",
        "OPTION_MAX_MODEL_LEN": "max_model_len",
        "SM_VLLM_MAX_MODEL_LEN": "max_model_len",
        "OPTION_LIMIT_MM_PER_PROMPT": "limit_mm_per_prompt",
    }
    held = 0
    for number, one in enumerate(DEPLOYMENTS):
        wanted = {label: option for label, option in read.items() if label in one["settings"]}
        if one["in"] != "environment" or one["verdict"] == "refused" or not wanted:
            continue
        directory = tmp_path / str(number)
        directory.mkdir()
        origins = start(one, directory).origins
        held += sum(origins[option] in one["settings"] for option in wanted.values())
        assert all(origins[option] != "default" for option in wanted.values()), one["source"]
    assert held > 300
