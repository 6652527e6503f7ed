import asyncio
import dataclasses
import json

import pytest

from handler.chat import Chat
from handler.engine import Picture
from handler.engines.fake import FakeEngine
from handler.errors import EngineFailure, InvalidRequest, UnknownModel
from handler.media.limits import MediaLimits
from handler.media.loader import MediaLoader
from tests.serving import ask, data_url


def run(use, engine=None, **how):
    """`use(chat)` with a started media room."""
    engine = engine or FakeEngine()

    async def life():
        media = MediaLoader(MediaLimits(pictures_per_prompt=4))
        await media.start()
        try:
            return await use(Chat(engine, media, engine.card, **how))
        finally:
            await media.aclose()

    return asyncio.run(life())


def body(*content, **parameters):
    return json.dumps(ask(*content, **parameters)).encode()


async def complete(chat):
    return await chat.complete(chat.read(body("a ", data_url(2, 3), " b")), "id")


def test_a_request_reaches_the_engine_with_its_pictures_loaded():
    engine = FakeEngine()
    answered = json.loads(run(complete, engine))
    assert answered["choices"][0]["message"]["content"] == "user: a [2x3] b"
    (prompt,) = engine.seen
    assert prompt.request_id == "id"
    assert isinstance(prompt.messages[0].content[1], Picture)


def test_pixels_are_let_go_whatever_becomes_of_the_request():
    engine = FakeEngine(error=EngineFailure("no"))
    with pytest.raises(EngineFailure):
        run(complete, engine)
    assert not engine.seen[0].messages[0].content[1].image.decoded


def test_a_stream_that_is_closed_early_is_aborted_and_lets_its_pixels_go():
    engine = FakeEngine(replies=["a", "b"])

    async def use(chat):
        chunks = chat.stream(chat.read(body(data_url(), stream=True)), "id")
        await anext(chunks)
        await chunks.aclose()

    run(use, engine)
    assert engine.aborted == ["id"]
    assert not engine.seen[0].messages[0].content[0].image.decoded


def test_another_model_is_refused():
    with pytest.raises(UnknownModel, match="'gpt'"):
        run(lambda chat: asyncio.to_thread(chat.read, body("hi", model="gpt")))


def test_a_picture_for_a_model_without_eyes_is_refused():
    engine = FakeEngine()
    engine.card = dataclasses.replace(engine.card, supports_pictures=False)
    with pytest.raises(InvalidRequest, match="text only"):
        run(lambda chat: asyncio.to_thread(chat.read, body(data_url())), engine)


def test_the_placeholder_token_is_followed():
    async def use(chat):
        return await chat.complete(chat.read(body("see {x} now", data_url(1, 1))), "id")

    answered = json.loads(run(use, image_placeholder_token="{x}"))
    assert answered["choices"][0]["message"]["content"] == "user: see [1x1] now"
