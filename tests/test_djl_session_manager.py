import pickle
from pathlib import Path

import numpy as np
import pytest

from handler.djl.djl_python.session_manager import SessionManager
from tests.user_code import json_call, results, write

# Actions by header, as in djl-serving's stateful example: a session is created, used, streamed from and closed.
STATEFUL = """
    import json
    from djl_python import Input, Output, SessionManager

    manager = None
    HEADER = "X-Amzn-SageMaker-Session-Id"

    def rows(session):
        session.put("streams", session.get("streams", 0) + 1)
        for row in session.get_as_numpy("state", shape=(3, 2)):
            yield json.dumps(row.tolist()) + "\\n"

    def handle(inputs: Input):
        global manager
        if manager is None:
            manager = SessionManager(inputs.get_properties())
        if inputs.is_empty():
            return None
        action, name = inputs.get_as_json()["action"], inputs.get_property(HEADER)
        if action == "create":
            session = manager.create_session()
            session.get_as_numpy("state", shape=(3, 2), create=True).fill(1)
            return Output().add_property(HEADER, session.session_id).add_as_json({"result": "created"})
        if action == "close":
            manager.close_session(name)
            return Output().add_as_json({"result": "closed"})
        session = manager.get_session(name)
        if session is None:
            return Output().error("no session")
        return Output().add_property("Content-Type", "application/jsonlines").add_stream_content(rows(session), None)
"""


@pytest.fixture
def manager(tmp_path):
    return SessionManager({"sessions_path": str(tmp_path / "sessions"), "sessions_expiration": "60"})


def expire(session):
    session.expiration_ts = 1.0
    session.put(".expiration_ts", 1.0)


def test_a_stateful_handler_keeps_arrays_and_values_in_a_session(tmp_path):
    write(tmp_path, STATEFUL)
    places = {"properties": {"sessions_path": str(tmp_path / "sessions")}}
    ((status, headers, _),) = results(tmp_path, json_call(b'{"action": "create"}'), **places)
    name = headers["x-amzn-sagemaker-session-id"]
    used = [
        json_call(b'{"action": "%s"}' % action, **{"x-amzn-sagemaker-session-id": name}) for action in (b"go", b"close")
    ]
    streamed, closed = results(tmp_path, *used, **places)
    assert status == 200
    assert (streamed[1]["content-type"], streamed[2]) == ("application/jsonlines", b"[1.0, 1.0]\n" * 3)
    assert b"closed" in closed[2]
    assert list((tmp_path / "sessions").iterdir()) == []


def test_values_and_arrays_outlive_the_manager(manager):
    session = manager.create_session()
    session.put("a/b", {"n": 1})
    session.get_as_numpy("state", shape=(2,), dtype=np.int64, create=True)[1] = 7
    again = SessionManager({"sessions_path": manager.sessions_path}).get_session(session.session_id)
    assert (again.get("a/b"), again.get("none"), again.get("none", 3)) == ({"n": 1}, None, 3)
    assert again.get_as_numpy("state", shape=(2,), dtype=np.int64).tolist() == [0, 7]
    assert again.expiration_ts == session.expiration_ts


def test_an_expired_session_is_none_and_is_removed_with_the_next_one(manager):
    old = manager.create_session()
    expire(old)
    assert manager.get_session(old.session_id) is None
    other = Path(manager.sessions_path) / "other"
    other.mkdir()
    new = SessionManager({"sessions_path": manager.sessions_path}).create_session()
    assert other.is_dir()
    other.rmdir()
    assert [path.name for path in Path(manager.sessions_path).iterdir()] == [new.session_id]


@pytest.mark.parametrize("name", [None, "", "NEW_SESSION"])
def test_a_request_without_a_session_has_none(manager, name):
    assert manager.get_session(name) is None


@pytest.mark.parametrize("name", ["unknown", "../sessions", "."])
def test_an_id_that_was_not_given_out_is_an_error(manager, name):
    for use in (manager.get_session, manager.close_session):
        with pytest.raises(ValueError, match="session not found"):
            use(name)
    with pytest.raises(ValueError, match="invalid session_id"):
        manager.close_session("")


def test_a_key_does_not_leave_the_directory_of_its_session(manager):
    session = manager.create_session()
    session.put("../../escape", 1)
    assert session.get("../../escape") == 1
    assert not (Path(manager.sessions_path).parent / "escape").exists()


def test_only_this_user_may_write_what_is_unpickled(manager):
    session = manager.create_session()
    for directory in (manager.sessions_path, session.files_path):
        assert Path(directory).stat().st_mode & 0o077 == 0
    with pytest.raises((pickle.PicklingError, AttributeError)):
        session.put("code", lambda: 1)


def test_sessions_are_not_copied_to_s3_and_a_warning_says_so(tmp_path, caplog):
    SessionManager({"sessions_path": str(tmp_path), "sessions_s3url": "s3://bucket/prefix"})
    assert "sessions_s3url has no effect" in caplog.text
