import pytest

from container.start import vllm_settings
from container.start.vllm_settings import chat_template
from handler.errors import StartError
from tests.http_server import Response, http_server

TEMPLATE = "{% for message in messages %}{{ message.content }}é{% endfor %}"


@pytest.fixture(scope="module")
def server():
    bodies = {"/t.jinja": TEMPLATE.encode(), "/huge": b"x" * (vllm_settings.MAX_BYTES + 1), "/binary": b"\xff\xfe"}
    with http_server(
        lambda request: Response(200 if request.path in bodies else 404, bodies.get(request.path, b""))
    ) as url:
        yield url


@pytest.mark.parametrize("setting", [None, "/a/path.jinja", TEMPLATE])
def test_what_is_no_address_is_left_to_the_engine(setting):
    assert chat_template(setting) == setting


def test_the_text_behind_an_address_is_taken(server):
    assert chat_template(f"{server}/t.jinja") == TEMPLATE


@pytest.mark.parametrize(("path", "words"), [("/none", "404"), ("/huge", "larger than"), ("/binary", "not UTF-8 text")])
def test_an_address_without_a_template_ends_the_start(server, path, words):
    with pytest.raises(StartError, match=words):
        chat_template(f"{server}{path}")


def test_an_address_that_nobody_answers_ends_the_start():
    with pytest.raises(StartError, match="could not be fetched"):
        chat_template("http://127.0.0.1:1/t.jinja")
