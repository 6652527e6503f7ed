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


def test_packages_that_are_missing_are_installed_apart_and_can_be_imported(entry, directory, caplog):
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


def test_nothing_is_installed_where_everything_is_there(entry, directory):
    (directory / "requirements.txt").write_text("# a comment\nnumpy\n")
    assert requirements.install(entry, allowed=True) is None


def test_a_package_that_stands_in_for_the_servers_own_is_told(entry, directory, caplog):
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


def test_what_pip_cannot_install_refuses_the_start_with_its_last_lines(entry, directory):
    (directory / "requirements.txt").write_text("lumi_nothing_of_this_name==1\n")
    with pytest.raises(StartError) as refused:
        requirements.install(entry, allowed=True)
    told = str(refused.value)
    assert str(directory / "requirements.txt") in told
    assert "No matching distribution found for lumi_nothing_of_this_name==1" in told
    assert len(told.splitlines()) <= requirements.MAX_LINES + 1
