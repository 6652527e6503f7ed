import pytest

from container.http.framing import Framing, choose_framing


def test_server_sent_events_end_with_done():
    assert Framing.SSE.frame(b'{"a":1}') == b'data: {"a":1}\n\n'
    assert Framing.SSE.last == b"data: [DONE]\n\n"


def test_json_lines_end_with_nothing():
    assert Framing.JSON_LINES.frame(b'{"a":1}') == b'{"a":1}\n'
    assert Framing.JSON_LINES.last == b""


@pytest.mark.parametrize(
    ("openai", "accept", "formatter", "chosen"),
    [
        (True, "", None, Framing.SSE),
        (True, "application/jsonlines", "jsonlines", Framing.SSE),
        (False, "", None, Framing.JSON_LINES),
        (False, "*/*", "json", Framing.JSON_LINES),
        (False, "*/*", "jsonlines", Framing.JSON_LINES),
        (False, "application/json", "sse", Framing.SSE),
        (False, "Text/Event-Stream", "jsonlines", Framing.SSE),
    ],
)
def test_the_route_the_option_and_accept_choose(openai, accept, formatter, chosen):
    assert choose_framing(openai=openai, accept=accept, formatter=formatter) is chosen
