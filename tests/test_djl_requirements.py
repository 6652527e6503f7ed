import importlib
import logging
import re
import sys

import pytest

from handler.djl import requirements
from handler.djl.entry_point import EntryPoint
from handler.errors import StartError
from tests.user_code import wheel


@pytest.fixture
def entry(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return EntryPoint(tmp_path / "model" / "model.py", "model", tmp_path / "model")


@pytest.fixture
def directory(entry):
    entry.directory.mkdir()
    return entry.directory


def test_missing_packages_are_installed_to_their_own_directory_and_can_be_imported(entry, directory, caplog):
    caplog.set_level(logging.INFO)
    wheel(directory / "requirements", "lumi_needed", "2.0")
    wheel(directory / "local_wheels", "lumi_wanted", needs=["lumi_needed>=1", "numpy"])
    (directory / "requirements.txt").write_text("./local_wheels/lumi_wanted-1.0-py3-none-any.whl\n")
    target = requirements.install(entry, allowed=True)
    importlib.invalidate_caches()
    assert importlib.import_module("lumi_needed").version == "2.0"
    assert importlib.import_module("lumi_wanted").__file__.startswith(str(target))
    assert sys.path[0] == str(target)
    assert not (target / "numpy").exists()  # it is there already
    assert "installed lumi" in caplog.text
    del sys.modules["lumi_needed"], sys.modules["lumi_wanted"]


def test_installed_packages_are_not_installed_again(entry, directory):
    (directory / "requirements.txt").write_text("# a comment\nnumpy\n")
    assert requirements.install(entry, allowed=True) is None


def test_replacing_a_package_of_the_server_is_a_warning(entry, directory, caplog):
    wheel(directory / "requirements", "six", "99.0")
    (directory / "requirements.txt").write_text("six>=90\n")
    assert requirements.install(entry, allowed=True) is not None
    assert re.search(r"requirements.txt replaces six \S+ with 99.0, for the server too", caplog.text)


def test_requirements_are_not_installed_unless_allowed(entry, directory, caplog):
    assert requirements.install(entry, allowed=False) is None
    assert not caplog.records
    (directory / "requirements.txt").write_text("lumi_nothing_of_this_name\n")
    assert requirements.install(entry, allowed=False) is None
    assert "set OPTION_INSTALL_REQUIREMENTS=true" in caplog.text


def test_a_package_that_pip_cannot_install_ends_the_start_with_pips_output(entry, directory):
    (directory / "requirements.txt").write_text("lumi_nothing_of_this_name==1\n")
    with pytest.raises(StartError) as error:
        requirements.install(entry, allowed=True)
    message = str(error.value)
    assert str(directory / "requirements.txt") in message
    assert "No matching distribution found for lumi_nothing_of_this_name==1" in message
    assert len(message.splitlines()) <= requirements.MAX_LINES + 1
