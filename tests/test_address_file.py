import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from container.address_file import live_addresses, publish_address

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def directory(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def written(directory, name="lumi-server-x.json", **fields):
    """A file as the server of this process writes it, but for `fields`."""
    with publish_address("0.0.0.0", 8080):
        (file,) = directory.glob("lumi-server-*")
        right = json.loads(file.read_text())
    (directory / name).write_text(json.dumps({**right, **fields}))
    return directory / name


def test_a_server_is_found_while_it_runs_and_its_file_is_private(directory):
    with publish_address("127.0.0.1", 8080):
        (address,) = live_addresses()
        assert (address.host, address.port, address.pid) == ("127.0.0.1", 8080, os.getpid())
        (file,) = directory.iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert live_addresses() == []
    assert not list(directory.iterdir())


def test_the_file_of_a_process_that_was_killed_is_stale(directory):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    written(directory, pid=ended.pid)
    assert live_addresses() == []


def test_the_file_of_an_earlier_process_of_the_same_number_is_stale(directory):
    # As the first process of a container that was restarted.
    written(directory, started="1")
    assert live_addresses() == []


def test_a_link_is_not_followed(directory):
    (directory / "lumi-server-y.json").symlink_to(written(directory, "elsewhere"))
    assert live_addresses() == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"port": "x"}', "nonsense", "[" * 4000])
def test_a_damaged_file_is_ignored(directory, text):
    (directory / "lumi-server-x.json").write_text(text)
    with publish_address("0.0.0.0", 8080):
        assert len(live_addresses()) == 1


def test_what_is_not_a_file_is_ignored(directory):
    os.mkfifo(directory / "lumi-server-x.json")
    (directory / "lumi-server-y.json").mkdir()
    assert live_addresses() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_the_file_of_another_user_is_ignored(directory):
    os.chown(written(directory), 12345, 12345)
    assert live_addresses() == []


def test_a_server_runs_where_no_file_can_be_written(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with publish_address("127.0.0.1", 8080):
        assert live_addresses() == []
    assert "cannot be written to a temporary file (No such file or directory)" in caplog.text


def test_a_server_runs_where_no_temporary_directory_is_writable():
    code = (
        "import tempfile; tempfile._candidate_tempdir_list = list\n"
        "from container.address_file import live_addresses, publish_address\n"
        "with publish_address('127.0.0.1', 8080): assert live_addresses() == []"
    )
    outcome = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "while this server listens on 8080" in outcome.stderr
