import asyncio

import pytest

from container.model_store import Kind, Located
from container.start.backend import Backend, CodeSettings
from handler.djl.own_model import OwnModel
from handler.engines.fake import FakeEngine
from handler.errors import EngineDead, StartError
from tests.user_code import json_call, write

ECHO = """
from djl_python import Output
def handle(inputs):
    return None if inputs.is_empty() else Output().add_as_json(dict(inputs.get_properties()))
"""


class Fetched:
    """A model store that counts what is fetched."""

    def __init__(self, place):
        self.place = place
        self.times = 0

    async def __call__(self):
        self.times += 1
        return str(self.place)


def backend(located, fetch, engine=None, **settings):
    async def load(model, formatters):
        return f"vLLM with {model}", formatters

    said = []
    made = Backend(CodeSettings(**settings), located, engine, names=("mine",), fetch=fetch, load=load, say=said.append)
    return made, said


def started(made):
    async def start():
        try:
            model = await made.bring()
            service = await made.load(model)
            answered = None
            if isinstance(service, OwnModel):
                answered = (await service.handle(json_call())).body
            await made.check()
            return model, service, answered
        finally:
            await made.stop()
            await made.stop()

    return asyncio.run(start())


def test_without_code_vllm_serves_what_was_fetched(tmp_path):
    engine = FakeEngine()
    made, _ = backend(Located(Kind.HUB, "org/name", ("org/name",)), Fetched(tmp_path), engine)
    model, service, _ = started(made)
    assert service == (f"vLLM with {tmp_path}", None)
    assert model == str(tmp_path)
    assert engine.prepared


def test_a_model_of_the_hub_that_the_code_loads_itself_is_not_fetched(tmp_path):
    write(tmp_path, ECHO)
    fetch = Fetched(tmp_path / "snapshot")
    hub = Located(Kind.HUB, "org/name", ("org/name",))
    engine = FakeEngine()
    made, said = backend(hub, fetch, engine, directories=(tmp_path,), properties={"a": "1"})
    _, service, answered = started(made)
    assert fetch.times == 0
    assert not engine.prepared
    assert service.card.names == ("mine",)
    assert b'"model_id":"org/name"' in answered
    assert b'"a":"1"' in answered
    assert said == [f"executing {tmp_path}/model.py", "loading the model with model.py"]


def test_code_that_comes_from_the_hub_is_not_executed(tmp_path):
    write(tmp_path, "raise SystemExit")
    made, _ = backend(Located(Kind.HUB, "org/name", ("org/name",)), Fetched(tmp_path), FakeEngine())
    assert started(made)[1] == (f"vLLM with {tmp_path}", None)


def test_code_that_the_operator_put_beside_a_model_in_s3_is_executed_once_it_is_here(tmp_path):
    write(tmp_path, ECHO, "code/serve.py")
    s3 = Located(Kind.S3, "s3://bucket/model", ("model",))
    made, _ = backend(s3, Fetched(tmp_path), FakeEngine(), entry_point="serve.py")
    _, _, answered = started(made)
    assert f'"model_dir":"{tmp_path}"'.encode() in answered
    assert f'"model_id":"{tmp_path}"'.encode() in answered


def test_an_engine_that_code_from_s3_leaves_no_work_for_is_let_go(tmp_path):
    write(tmp_path, ECHO, "code/serve.py")
    engine = FakeEngine()

    class Late(Fetched):
        async def __call__(self):
            assert engine.prepared, "its imports run while the model comes"
            return await super().__call__()

    s3 = Located(Kind.S3, "s3://bucket/model", ("model",))
    made, _ = backend(s3, Late(tmp_path), engine, entry_point="serve.py")

    async def bring():
        await made.bring()
        stopped = engine.stopped
        await made.stop()
        return stopped

    assert asyncio.run(bring())


def test_an_entry_point_that_s3_did_not_bring_ends_the_start(tmp_path):
    s3 = Located(Kind.S3, "s3://bucket/model", ("model",))
    made, _ = backend(s3, Fetched(tmp_path), FakeEngine(), entry_point="serve.py")
    with pytest.raises(StartError, match=f"OPTION_ENTRY_POINT='serve.py' names neither .* in {tmp_path}"):
        started(made)


def test_code_without_a_model_of_the_servers_is_enough(tmp_path):
    write(tmp_path, ECHO)
    fetch = Fetched(tmp_path)
    made, _ = backend(None, fetch, directories=(tmp_path,))
    _, _, answered = started(made)
    assert fetch.times == 0
    assert b'"tensor_parallel_degree":"' in answered
    assert b'"model_id"' not in answered


def test_formatters_are_handed_to_who_loads_vllm_and_a_dead_engine_is_noticed(tmp_path):
    write(tmp_path, "from djl_python.output_formatter import output_formatter\n@output_formatter\ndef f(r): return r\n")
    local = Located(Kind.DIRECTORY, str(tmp_path), ("m",))
    made, _ = backend(local, Fetched(tmp_path), FakeEngine(), directories=(tmp_path,))
    _, (_, formatters), _ = started(made)
    assert (formatters.formats_input, formatters.formats_output) == (False, True)
    made, _ = backend(local, Fetched(tmp_path), FakeEngine(dead=True), directories=(tmp_path,))
    with pytest.raises(EngineDead):
        started(made)


def test_code_that_takes_too_long_to_execute_ends_the_start(tmp_path):
    # Of another name, as it is executed to its end all the same.
    write(tmp_path, "import time\ntime.sleep(0.5)\n" + ECHO, "slow_to_execute.py")
    made, _ = backend(
        None, Fetched(tmp_path), directories=(tmp_path,), entry_point="slow_to_execute.py", loading_seconds=0.05
    )
    with pytest.raises(StartError, match="OPTION_MODEL_LOADING_TIMEOUT"):
        started(made)
