import pytest

from handler import sessions as room
from handler.errors import InvalidRequest, MediaInvalid
from handler.payload.parts import ImagePart
from handler.sessions import Sessions, answer, named, sha256


class Clock:
    time = 1000.0

    def __call__(self):
        return self.time


def keep(sessions, session, *images):
    sessions.keep(session, [(sha256(data), data) for data in images])


def by_hash(data):
    return ImagePart(f"sha256:{sha256(data)}", "path")


def test_a_image_that_was_shown_is_named_by_its_hash():
    sessions = Sessions()
    session = sessions.open()
    keep(sessions, session, b"one")
    assert named(by_hash(b"one"), sessions, session) == ImagePart(b"one", "path")
    assert named(ImagePart("http://a", "path"), sessions, session) == ImagePart("http://a", "path")


def test_another_session_does_not_see_it():
    sessions = Sessions()
    keep(sessions, sessions.open(), b"one")
    with pytest.raises(MediaInvalid, match="send the image again"):
        named(by_hash(b"one"), sessions, sessions.open())


@pytest.mark.parametrize("sessions", [None, Sessions()])
def test_without_a_session_a_hash_names_nothing(sessions):
    with pytest.raises(MediaInvalid, match="X-Amzn-SageMaker-Session-Id") as refusal:
        named(by_hash(b"one"), sessions, None)
    assert refusal.value.param == "path"


def test_the_least_recently_shown_image_goes_when_memory_is_full():
    sessions = Sessions(most_bytes=6)
    session = sessions.open()
    keep(sessions, session, b"one", b"two")
    named(by_hash(b"one"), sessions, session)
    keep(sessions, session, b"new")
    assert sessions.image(session, sha256(b"one")) == b"one"
    assert sessions.image(session, sha256(b"two")) is None


def test_a_image_of_two_sessions_stays_until_both_are_closed():
    sessions = Sessions()
    first, second = sessions.open(), sessions.open()
    for session in (first, second):
        keep(sessions, session, b"one")
    sessions.close(first.id)
    assert sessions.image(second, sha256(b"one")) == b"one"
    sessions.close(second.id)
    assert sessions.image(second, sha256(b"one")) is None


def test_a_session_ends_when_its_time_is_over():
    clock = Clock()
    sessions = Sessions(lifetime=10, now=clock)
    session = sessions.open()
    clock.time += 9
    assert sessions.find(f"{session.id}; Expires=whenever") is session
    clock.time += 1
    with pytest.raises(InvalidRequest, match="not open") as refusal:
        sessions.find(session.id)
    assert refusal.value.code == "session_not_found"


def test_there_are_so_many_sessions_at_most(monkeypatch):
    monkeypatch.setattr(room, "MOST_SESSIONS", 1)
    sessions = Sessions()
    sessions.open()
    with pytest.raises(InvalidRequest, match="1 sessions are open"):
        sessions.open()


def test_opening_and_closing_are_answered_in_lmis_headers():
    sessions = Sessions(lifetime=10, now=Clock())
    opened = answer(sessions, "NEW_SESSION", None)
    told = opened.headers["x-amzn-sagemaker-session-id"]
    assert told == opened.headers["x-amzn-sagemaker-new-session-id"]
    assert told == f"{opened.body['sessionId']}; Expires=1970-01-01T00:16:50Z"
    closed = answer(sessions, "CLOSE", told)
    assert closed.headers == {"x-amzn-sagemaker-closed-session-id": opened.body["sessionId"]}


@pytest.mark.parametrize(
    ("sessions", "kind", "name", "words"),
    [
        (Sessions(), "OPEN", None, "NEW_SESSION or CLOSE"),
        (Sessions(), "CLOSE", None, "X-Amzn-SageMaker-Session-Id"),
        (Sessions(), "CLOSE", "x", "not open"),
        (None, "NEW_SESSION", None, "OPTION_ENABLE_STATEFUL_SESSIONS"),
    ],
)
def test_what_cannot_be_done_is_refused(sessions, kind, name, words):
    with pytest.raises(InvalidRequest, match=words):
        answer(sessions, kind, name)


def test_a_image_that_arrives_after_the_close_is_not_kept():
    sessions = Sessions(most_bytes=100)
    closed = sessions.open()
    sessions.close(closed.id)
    keep(sessions, closed, b"late")
    assert closed.digests == set()
    assert sessions.image(closed, sha256(b"late")) is None
