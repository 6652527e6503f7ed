"""Images by the names that clients give them: in themselves, and through the real server."""

import pytest

from handler.named_images import NamedImages
from tests.serving import answer, ask, data_url, fault, serving


def test_a_name_is_its_owners_alone_and_means_the_last_image():
    named = NamedImages()
    named.keep("a", "cat", b"one")
    assert (named.find("a", "cat"), named.find("b", "cat"), named.find("a", "dog")) == (b"one", None, None)
    named.keep("a", "cat", b"other")
    assert (named.find("a", "cat"), named.bytes) == (b"other", 5)


@pytest.mark.parametrize("limits", [{"max_bytes": 5}, {"max_images": 5}])
def test_who_has_the_most_loses_what_it_used_least_recently(limits):
    named = NamedImages(**limits)
    named.keep("small", "x", b"1")
    for name in "abcd":
        named.keep("large", name, b"1")
    assert named.find("large", "a") == b"1"
    named.keep("large", "e", b"1")
    assert named.find("large", "b") is None
    assert named.find("large", "a") == named.find("small", "x") == b"1"


def test_an_image_larger_than_all_that_is_kept_is_not_kept():
    named = NamedImages(max_bytes=5)
    named.keep("a", "cat", b"123456")
    assert (named.find("a", "cat"), named.bytes) == (None, 0)


@pytest.fixture(scope="module")
def served():
    with serving(environ={"OPTION_ENABLE_STATEFUL_SESSIONS": "true"}) as server:
        yield server


def image(uuid, **fields):
    return {"type": "image_url", "uuid": uuid, **fields}


@pytest.mark.parametrize(
    "nothing",
    [
        {"image_url": None},
        {},
        {"image_url": {}},
        {"image_url": {"url": ""}},
        {"image_url": {"url": None}},
        {"image_url": ""},
    ],
)
def test_an_image_is_sent_once_and_named_then(served, nothing):
    assert answer(served.post(ask(image("cat", image_url={"url": data_url(2, 3)})))) == "user: [2x3]"
    assert answer(served.post(ask(image("cat", **nothing), "again"))) == "user: [2x3]again"


def test_the_same_name_may_be_given_to_another_image(served):
    for width in (5, 6):
        served.post(ask(image(7, image_url={"url": data_url(width, 3)})))
        assert answer(served.post(ask(image("7", image_url=None)))) == f"user: [{width}x3]"


def test_a_session_has_names_of_its_own(served):
    name = {"x-amzn-sagemaker-session-id": served.post({"requestType": "NEW_SESSION"}).json()["sessionId"]}
    served.post(ask(image("mine", image_url={"url": data_url(2, 3)})), **name)
    assert answer(served.post(ask(image("mine", image_url=None)), **name)) == "user: [2x3]"
    assert fault(served.post(ask(image("mine", image_url=None))))["code"] == "media_not_named"


@pytest.mark.parametrize("uuid", ["never sent", "", "x" * 201, ["a"]])
def test_a_name_without_an_image_is_refused_with_the_path(served, uuid):
    response = served.post(ask("what is", image(uuid, image_url=None)))
    assert response.status_code == 400
    assert fault(response)["param"] == "messages[0].content[1].image_url"


def test_what_is_kept_is_measured(served):
    shown = served.client.get("/metrics").text
    assert 'lumi_stored_bytes{store="named_images"}' in shown
    assert 'lumi_stored_bytes_limit{store="named_images"} 6.7108864e+07' in shown
