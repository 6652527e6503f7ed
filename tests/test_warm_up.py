import dataclasses

import pytest

from container.warm_up import SIDE, warm_up
from handler.engine import Picture
from handler.engines.fake import FakeEngine
from handler.errors import InvalidRequest, StartError
from tests.serving import with_service


def seen(engine, **how):
    with_service(lambda service: warm_up(service, **how), engine)
    return engine.seen[0].messages[0].content


def test_a_model_that_sees_is_asked_about_a_picture():
    content = seen(FakeEngine(), pictures_allowed=True)
    assert isinstance(content[1], Picture)
    assert content[1].image.size == (SIDE, SIDE)


def test_where_pictures_are_off_the_model_is_asked_in_words():
    assert all(isinstance(part, str) for part in seen(FakeEngine(), pictures_allowed=False))


def test_a_model_that_reads_text_only_is_asked_in_words():
    engine = FakeEngine()
    engine.card = dataclasses.replace(engine.card, supports_pictures=False)
    assert all(isinstance(part, str) for part in seen(engine, pictures_allowed=True))


def test_a_model_that_cannot_answer_ends_the_start_with_its_reason():
    engine = FakeEngine(error=InvalidRequest("there is no chat template"))
    with pytest.raises(StartError, match=r"about a picture: there is no chat template .*OPTION_CHAT_TEMPLATE"):
        with_service(lambda service: warm_up(service, pictures_allowed=True), engine)
