"""docs/lmi-options.md against what a start really does with each setting."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from container.commands import parse
from container.options import Options, lmi, resolve
from docs.generate.lmi_page import PLACES, State, lmi_page, outcome_of
from docs.generate.lmi_settings import SECTIONS
from handler.engines.vllm import field_names
from handler.errors import OptionError, StartError
from tests.option_cases import write_properties

LABELS = sorted({label for section in SECTIONS for label in section.names})
TEXT = "some text"  # which no row takes for what happens anyway


def findings(environ: Mapping[str, str], directory: Path) -> tuple[str, Options | None]:
    """The faults or warnings of a start, and the options in force if there is no fault."""
    try:
        found = resolve(environ, engine_fields=field_names, model_directory=directory)
    except OptionError as fault:
        return str(fault), None
    return "\n".join(found.warnings), found.options


def resolve_label(label: str, directory: Path) -> tuple[str, Options | None]:
    if label.isupper():
        return findings({label.replace("*", "X"): TEXT}, directory)
    in_file = findings({}, write_properties(directory, f"{label}={TEXT}"))
    name = label.removeprefix("option.")
    if label != name and name not in ("model_id", "s3url"):  # these say which file is read
        (directory / "serving.properties").unlink()
        in_environment = findings({f"OPTION_{name.upper()}": TEXT}, directory)
        assert bool(in_environment[1]) == bool(in_file[1])
    return in_file


@pytest.mark.parametrize("label", LABELS)
def test_a_setting_of_lmi_does_what_the_page_says(label: str, tmp_path: Path):
    text, options = resolve_label(label, tmp_path)
    assert "is not an option" not in text
    assert "is unknown" not in text
    found = outcome_of(label)
    if found.state is State.NO_EFFECT:
        assert "has no effect: " in text
    elif found.state is State.REFUSED:
        assert "is refused: " in text
    else:
        assert "has no effect" not in text
    if found.state is State.VLLM:
        assert options is not None
        assert options.engine_arguments == {label.removeprefix("option."): TEXT}


def test_the_page_has_every_name_that_is_known():
    page = lmi_page()
    for label in (*LABELS, *lmi.variables(), *lmi.passed_through()):
        assert f"| `{label}` |" in page
    for name in (*lmi.option_names(), *lmi.server_keys()):
        spellings = (name, name.replace("_", ""))
        assert any(spelling in page.lower().replace("_", "") or spelling in page for spelling in spellings), name


def test_every_section_says_something_new():
    for section in SECTIONS:
        assert section.names
        assert len(set(section.names)) == len(section.names)


def test_a_name_that_nobody_documents_has_no_outcome():
    with pytest.raises(LookupError):
        outcome_of("SERVING_NONSENSE")


FLAGS = {
    flag: outcome.startswith("read")
    for place, outcome in PLACES
    if "djl-serving" in place
    for flag in re.findall(r"`(-[a-z-]+)`", place)
}


@pytest.mark.parametrize(("flag", "is_read"), FLAGS.items(), ids=FLAGS)
def test_an_argument_of_djl_serving_does_what_the_page_says(flag: str, is_read: bool, tmp_path: Path):
    (tmp_path / "config.properties").touch()
    value = tmp_path / "config.properties" if flag in ("-f", "--config-file") else tmp_path
    if is_read:
        command = parse(["serve", flag, str(value)])
        assert value in (command.model_directory, command.server_file)
    else:
        with pytest.raises(StartError, match=re.escape(repr(flag))):
            parse(["serve", flag, str(value)])
    with pytest.raises(StartError):
        parse(["serve", flag, str(value), str(value)])
