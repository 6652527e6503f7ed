"""docs/lmi-options.md against what a start really does with each setting."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from container.options import Options, lmi, resolve
from docs.generate.lmi_page import State, lmi_page, standing
from docs.generate.lmi_settings import SECTIONS
from handler.engines.vllm import field_names
from handler.errors import OptionError
from tests.option_cases import write_properties

LABELS = sorted({label for section in SECTIONS for label in section.names})
TEXT = "some text"  # which no row takes for what happens anyway


def told(environ: Mapping[str, str], directory: Path) -> tuple[str, Options | None]:
    """What a start says, and the options in force if it is one."""
    try:
        found = resolve(environ, engine_fields=field_names, model_directory=directory)
    except OptionError as fault:
        return str(fault), None
    return "\n".join(found.warnings), found.options


def tried(label: str, directory: Path) -> tuple[str, Options | None]:
    if label.isupper():
        return told({label.replace("*", "X"): TEXT}, directory)
    in_file = told({}, write_properties(directory, f"{label}={TEXT}"))
    name = label.removeprefix("option.")
    if label != name and name not in ("model_id", "s3url"):  # these say which file is read
        (directory / "serving.properties").unlink()
        in_environment = told({f"OPTION_{name.upper()}": TEXT}, directory)
        assert bool(in_environment[1]) == bool(in_file[1])
    return in_file


@pytest.mark.parametrize("label", LABELS)
def test_a_setting_of_lmi_does_what_the_page_says(label: str, tmp_path: Path):
    words, options = tried(label, tmp_path)
    assert "is not an option" not in words
    assert "is unknown" not in words
    found = standing(label)
    if found.state is State.NO_EFFECT:
        assert "has no effect: " in words
    elif found.state is State.REFUSED:
        assert "is refused: " in words
    else:
        assert "has no effect" not in words
    if found.state is State.VLLM:
        assert options is not None
        assert options.engine_arguments == {label.removeprefix("option."): TEXT}


def test_the_page_has_every_name_that_is_known():
    page = lmi_page("x")
    for label in (*LABELS, *lmi.variables(), *lmi.passed_through()):
        assert f"| `{label}` |" in page
    for name in (*lmi.option_names(), *lmi.server_keys()):
        spellings = (name, name.replace("_", ""))
        assert any(spelling in page.lower().replace("_", "") or spelling in page for spelling in spellings), name


def test_every_section_says_something_new():
    for section in SECTIONS:
        assert section.names
        assert len(set(section.names)) == len(section.names)


def test_a_name_that_nobody_documents_has_no_standing():
    with pytest.raises(LookupError):
        standing("SERVING_NONSENSE")
