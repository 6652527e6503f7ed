import asyncio
import dataclasses
import json

import pytest

from handler.engine import PromptImage
from handler.engines.fake import FakeEngine
from handler.errors import EngineFailure, InvalidRequest, UnknownModel
from handler.images import RequestContext
from tests.serving import ask, data_url, with_service


async def complete(service):
    return await service.complete(service.parse(ask("a ", data_url(2, 3), " b")), RequestContext("id"))


def test_a_request_reaches_the_engine_with_its_images_loaded():
    engine = FakeEngine()
    answered = json.loads(with_service(complete, engine))
    assert answered["choices"][0]["message"]["content"] == "user: a [2x3] b"
    (prompt,) = engine.seen
    assert prompt.request_id == "id"
    assert isinstance(prompt.messages[0].content[1], PromptImage)


def test_pixels_are_let_go_whatever_becomes_of_the_request():
    engine = FakeEngine(error=EngineFailure("no"))
    with pytest.raises(EngineFailure):
        with_service(complete, engine)
    assert not engine.seen[0].messages[0].content[1].image.decoded


def test_a_stream_that_is_closed_early_is_aborted_and_lets_its_pixels_go():
    engine = FakeEngine(replies=["a", "b"])

    async def use(service):
        chunks = service.stream(service.parse(ask(data_url(), stream=True)), RequestContext("id"))
        await anext(chunks)
        await chunks.aclose()

    with_service(use, engine)
    assert engine.aborted == ["id"]
    assert not engine.seen[0].messages[0].content[0].image.decoded


def test_another_model_is_refused():
    with pytest.raises(UnknownModel, match="'gpt'"):
        with_service(lambda service: asyncio.to_thread(service.parse, ask("hi", model="gpt")))


def test_an_image_for_a_model_without_eyes_is_refused():
    engine = FakeEngine()
    engine.card = dataclasses.replace(engine.card, supports_images=False)
    with pytest.raises(InvalidRequest, match="text only"):
        with_service(lambda service: asyncio.to_thread(service.parse, ask(data_url())), engine)


def test_a_chat_with_a_base_model_is_told_what_to_send():
    engine = FakeEngine()
    engine.card = dataclasses.replace(engine.card, has_chat_template=False)
    with pytest.raises(InvalidRequest, match=r"fake has no chat template.*`prompt` or `inputs`.*OPTION_CHAT_TEMPLATE"):
        with_service(lambda service: asyncio.to_thread(service.parse, ask("hi")), engine)


def test_more_images_than_the_model_takes_are_refused_before_any_is_fetched():
    engine = FakeEngine()
    engine.card = dataclasses.replace(engine.card, max_images=1)
    body = ask("which?", "http://192.0.2.1/never.png", "http://192.0.2.1/fetched.png")
    with pytest.raises(InvalidRequest, match="2 images; the model fake takes 1 at most") as refused:
        with_service(lambda service: asyncio.to_thread(service.parse, body), engine)
    assert refused.value.param == "messages[0].content[2].image_url.url"


def test_the_placeholder_token_is_followed():
    async def use(service):
        return await service.complete(service.parse(ask("see {x} now", data_url(1, 1))), RequestContext("id"))

    answered = json.loads(with_service(use, OPTION_IMAGE_PLACEHOLDER_TOKEN="{x}"))
    assert answered["choices"][0]["message"]["content"] == "user: see [1x1] now"


def test_the_repeated_placeholder_of_a_legacy_client_is_one():
    async def use(service):
        return await service.complete(service.parse(ask("{x}" * 4 + " now", data_url(1, 1))), RequestContext("id"))

    answered = json.loads(with_service(use, OPTION_IMAGE_PLACEHOLDER_TOKEN="{x}", OPTION_IMAGE_FEATURE_SIZE="4"))
    assert answered["choices"][0]["message"]["content"] == "user: [1x1] now"
