import pytest

from handler.errors import InvalidRequest, MediaInvalid
from handler.payload.parts import ImagePart
from handler.sessions import Sessions, open_or_close, sha256


class Clock:
    time = 1000.0

    def __call__(self):
        return self.time


def keep(sessions, session, *images):
    sessions.keep(session, [(sha256(data), data) for data in images])


def is_kept(sessions, session, data):
    try:
        return sessions.resolve(by_hash(data), session).url == data
    except MediaInvalid:
        return False


def by_hash(data):
    return ImagePart(f"sha256:{sha256(data)}", "path")


def test_an_image_that_was_shown_is_named_by_its_hash():
    sessions = Sessions()
    session = sessions.open()
    keep(sessions, session, b"one")
    assert sessions.resolve(by_hash(b"one"), session) == ImagePart(b"one", "path")
    assert sessions.resolve(ImagePart("http://a", "path"), session) == ImagePart("http://a", "path")


def test_another_session_does_not_see_it():
    sessions = Sessions()
    keep(sessions, sessions.open(), b"one")
    with pytest.raises(MediaInvalid, match="send the image again"):
        sessions.resolve(by_hash(b"one"), sessions.open())


def test_the_least_recently_shown_image_goes_when_memory_is_full():
    sessions = Sessions(max_bytes=6)
    session = sessions.open()
    keep(sessions, session, b"one", b"two")
    sessions.resolve(by_hash(b"one"), session)
    keep(sessions, session, b"new")
    assert is_kept(sessions, session, b"one")
    assert not is_kept(sessions, session, b"two")


def test_an_image_of_two_sessions_stays_until_both_are_closed():
    sessions = Sessions()
    first, second = sessions.open(), sessions.open()
    for session in (first, second):
        keep(sessions, session, b"one")
    sessions.close(first.id)
    assert is_kept(sessions, second, b"one")
    sessions.close(second.id)
    assert not is_kept(sessions, second, b"one")


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


def test_the_session_that_was_idle_for_longest_gives_way_to_a_new_one():
    sessions = Sessions(max_sessions=2)
    used, idle = sessions.open(), sessions.open()
    keep(sessions, idle, b"one")
    sessions.find(used.id)
    sessions.open()
    assert sessions.find(used.id) is used
    assert (sessions.count, sessions.image_bytes) == (2, 0)
    with pytest.raises(InvalidRequest, match="gave way"):
        sessions.find(idle.id)


def test_a_client_that_opens_many_sessions_loses_its_own():
    sessions = Sessions(max_sessions=10)
    quiet = sessions.open("quiet")
    many = [sessions.open("flood") for _ in range(100)]
    assert sessions.find(quiet.id) is quiet
    assert sessions.find(many[-1].id) is many[-1]
    assert sessions.count == 10
    assert sessions.open("third")


def test_a_client_that_sends_many_images_loses_its_own():
    sessions = Sessions(max_bytes=10)
    quiet, flood = sessions.open("quiet"), sessions.open("flood")
    keep(sessions, quiet, b"one")
    keep(sessions, flood, *(b"%d" % number for number in range(1000, 1100)))
    assert is_kept(sessions, quiet, b"one")
    assert is_kept(sessions, flood, b"1099")
    assert sessions.image_bytes <= 10


def test_opening_and_closing_are_answered_in_lmis_headers():
    sessions = Sessions(lifetime=10, now=Clock())
    opened = open_or_close(sessions, "NEW_SESSION", None)
    told = opened.headers["x-amzn-sagemaker-session-id"]
    assert told == opened.headers["x-amzn-sagemaker-new-session-id"]
    assert told == f"{opened.body['sessionId']}; Expires=1970-01-01T00:16:50Z"
    closed = open_or_close(sessions, "CLOSE", told)
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
        open_or_close(sessions, kind, name)


def test_an_image_that_arrives_after_the_close_is_not_kept():
    sessions = Sessions(max_bytes=100)
    closed = sessions.open()
    sessions.close(closed.id)
    keep(sessions, closed, b"late")
    assert closed.digests == set()
    assert not is_kept(sessions, closed, b"late")
