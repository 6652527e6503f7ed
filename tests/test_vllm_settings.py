import pytest

from container.model_store import locate
from container.start import vllm_settings
from container.start.vllm_settings import chat_template
from handler.errors import StartError
from tests.http_server import Response, http_server
from tests.serving import options_of

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


@pytest.mark.parametrize(
    ("cuda", "environ", "size"),
    [
        (13, {}, None),  # vLLM's own for the GPU
        (None, {}, 32),
        (13, {"OPTION_MAX_ROLLING_BATCH_SIZE": "8"}, 8),
        (None, {"OPTION_MAX_ROLLING_BATCH_SIZE": "8"}, 8),
    ],
)
def test_a_batch_is_as_large_as_is_set_or_as_vllm_plans_for_the_gpu(monkeypatch, cuda, environ, size):
    monkeypatch.setattr(vllm_settings, "cuda", lambda: cuda)
    with options_of(**environ) as options:
        settings = vllm_settings.vllm_settings(options, locate(options.model_id))
    assert settings.arguments.get("max_num_seqs") == size
