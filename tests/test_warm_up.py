import dataclasses

import pytest

from container.start.warm_up import QUESTION, SIDE, warm_up
from handler.engine import ChatPrompt, PromptImage
from handler.engines.fake import FakeEngine
from handler.errors import InvalidRequest, StartError
from tests.serving import with_service


def content_of(engine, **how):
    with_service(lambda service: warm_up(service, **how), engine)
    return engine.seen[0].messages[0].content


def test_a_model_that_takes_images_is_asked_about_one():
    content = content_of(FakeEngine(), images_allowed=True)
    assert isinstance(content[1], PromptImage)
    assert content[1].image.size == (SIDE, SIDE)


def test_a_model_whose_images_are_switched_off_is_sent_text():
    assert all(isinstance(part, str) for part in content_of(FakeEngine(), images_allowed=False))


def test_a_model_that_takes_text_only_is_sent_text():
    engine = FakeEngine()
    engine.card = dataclasses.replace(engine.card, supports_images=False)
    assert all(isinstance(part, str) for part in content_of(engine, images_allowed=True))


def test_a_base_model_continues_a_raw_prompt_with_an_image():
    engine = FakeEngine()
    engine.card = dataclasses.replace(engine.card, has_chat_template=False)
    with_service(lambda service: warm_up(service, images_allowed=True), engine)
    (text,) = engine.seen[0].texts
    assert isinstance(text.content[0], PromptImage)
    assert text.content[-1] == QUESTION


class Choosy(FakeEngine):
    """A model whose template takes no ordinary chat."""

    async def generate(self, prompt):
        if isinstance(prompt, ChatPrompt):
            raise InvalidRequest("a part needs `source_lang_code`")
        async for delta in super().generate(prompt):
            yield delta


def test_a_model_whose_template_refuses_an_ordinary_chat_continues_a_raw_prompt():
    engine = Choosy()
    with_service(lambda service: warm_up(service, images_allowed=True), engine)
    (text,) = engine.seen[0].texts
    assert isinstance(text.content[0], PromptImage)


def test_a_model_that_cannot_answer_ends_the_start_with_its_reason():
    engine = FakeEngine(error=InvalidRequest("the image is too large"))
    with pytest.raises(StartError, match=r"about an image: the image is too large$"):
        with_service(lambda service: warm_up(service, images_allowed=True), engine)
