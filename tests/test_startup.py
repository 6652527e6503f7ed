"""The stages of a start, over a scripted factory of engines: what is executed, fetched and started, and in which order."""

import asyncio
import contextlib
import tarfile
import threading

import pytest

from container.start.startup import Stage
from handler.djl.formatter_registry import FormatterPair
from handler.djl.own_model import OwnModel
from handler.engines.fake import FakeEngine, FakeFactory
from handler.errors import EngineDead, EngineFailure, StartError
from tests.adapter_cases import write_adapter
from tests.s3_server import s3_served
from tests.serving import options_of, startup_of
from tests.user_code import json_call, write

ECHO = """
from djl_python import Output
def handle(inputs):
    return None if inputs.is_empty() else Output().add_as_json(dict(inputs.get_properties()))
"""
FORMATTER = "from djl_python.output_formatter import output_formatter\n@output_formatter\ndef f(r): return r\n"


def started(factory, use=None, report=lambda _: None, **environ):
    """What `use` makes of a start of these options that is ready."""

    async def start(options):
        startup = startup_of(options, factory, report)
        try:
            ready = await startup.run()
            await ready.check()
            return (await use(ready)) if use else ready.service
        finally:
            await startup.stop()
            await startup.stop()

    with options_of(**environ) as options:
        return asyncio.run(start(options))


async def properties(ready):
    """The properties that the user's code is handed."""
    assert isinstance(ready.service, OwnModel)
    return (await ready.service.handle(json_call())).body.decode()


@pytest.fixture
def s3(monkeypatch):
    with s3_served() as store:
        for name, value in {"ENDPOINT_URL": store.url, "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        yield store


def put(store, directory, *names):
    for name in names:
        store.put(f"model/{name}", directory / name)


def test_a_model_without_code_is_served_by_the_engine(directory):
    factory, stages = FakeFactory(), []
    service = started(factory, report=stages.append, HF_MODEL_ID=str(directory))
    assert service.card is factory.engine.card
    assert service.formatters({}, None) == FormatterPair()
    assert factory.steps == ["preload", f"start {directory}", "close"]
    assert factory.engine.stopped
    assert stages[0] == Stage.MODEL
    assert stages[-4:] == [Stage.FETCH_ADAPTERS, Stage.ENGINE, Stage.ADAPTERS, Stage.WARM_UP]


def test_ready_means_that_an_image_was_answered(directory):
    factory = FakeFactory()
    started(factory, HF_MODEL_ID=str(directory))
    assert factory.engine.seen[0].messages[0].content[1].image.size == (224, 224)


def test_a_model_that_cannot_answer_does_not_become_ready(directory):
    factory = FakeFactory(FakeEngine(error=EngineFailure("no template")))
    with pytest.raises(StartError, match="failed on a first request"):
        started(factory, HF_MODEL_ID=str(directory))
    assert factory.engine.stopped
    assert factory.steps[-1] == "close"


def test_a_model_of_the_hub_that_the_code_loads_itself_is_not_fetched(tmp_path):
    write(tmp_path, ECHO)
    (tmp_path / "serving.properties").write_text("option.model_id=no-such-organisation/name\noption.a=1")
    factory, stages = FakeFactory(), []
    answered = started(factory, properties, stages.append, HF_MODEL_ID=str(tmp_path))
    assert factory.steps == []
    assert '"model_id":"no-such-organisation/name"' in answered
    assert '"a":"1"' in answered
    assert stages == [
        Stage.CODE,
        f"{Stage.CODE}: {tmp_path}/model.py",
        Stage.OWN_MODEL,
        f"{Stage.OWN_MODEL}: model.py",
    ]


def test_a_model_that_the_code_owns_has_the_served_name(tmp_path):
    write(tmp_path, ECHO)
    assert started(FakeFactory(), HF_MODEL_ID=str(tmp_path)).card.names == ("mine",)


def test_code_that_the_operator_put_beside_a_model_in_s3_is_executed_once_it_is_here(directory, s3):
    write(directory, ECHO, "code/serve.py")
    put(s3, directory, "config.json", "code/serve.py")
    environ = {"HF_MODEL_ID": "s3://bucket/model", "OPTION_ENTRY_POINT": "serve.py"}
    answered = started(FakeFactory(), properties, OPTION_DOWNLOAD_DIR=str(directory / "kept"), **environ)
    assert f'"model_dir":"{directory}/kept/' in answered
    assert f'"model_id":"{directory}/kept/' in answered


def test_an_engine_for_which_code_from_s3_leaves_no_work_is_closed_before_the_code_loads_its_model(directory, s3):
    write(directory, ECHO, "code/serve.py")
    put(s3, directory, "config.json", "code/serve.py")
    factory, steps = FakeFactory(), []

    def report(text):
        if text in (Stage.MODEL, Stage.OWN_MODEL):
            steps.append((text, list(factory.steps)))

    started(factory, properties, report, HF_MODEL_ID="s3://bucket/model", OPTION_ENTRY_POINT="serve.py")
    assert steps == [(Stage.MODEL, ["preload"]), (Stage.OWN_MODEL, ["preload", "close"])]


def test_an_entry_point_that_s3_did_not_bring_ends_the_start(directory, s3):
    put(s3, directory, "config.json")
    with pytest.raises(StartError, match=r"OPTION_ENTRY_POINT='serve.py' names neither .*/model"):
        started(FakeFactory(), HF_MODEL_ID="s3://bucket/model", OPTION_ENTRY_POINT="serve.py")


def test_the_engine_of_a_model_from_s3_is_imported_while_it_is_fetched(directory, s3):
    put(s3, directory, "config.json")
    factory, steps = FakeFactory(), []

    def report(text):
        if text.startswith(Stage.MODEL):
            steps.append(list(factory.steps))

    started(factory, report=report, HF_MODEL_ID="s3://bucket/model", OPTION_DOWNLOAD_DIR=str(directory / "kept"))
    assert steps[0] == ["preload"]
    assert factory.steps[1].startswith(f"start {directory}/kept/")


@pytest.mark.parametrize("inner", [(), ("model",)])
def test_options_in_an_archive_come_too_late_and_a_warning_says_so(inner, directory, s3, caplog):
    (directory / "serving.properties").write_text("option.dtype=bf16")
    with tarfile.open(directory / "model.tar.gz", "w:gz") as tar:
        for name in ("config.json", "serving.properties"):
            tar.add(directory / name, "/".join((*inner, name)))
    s3.put("model.tar.gz", directory / "model.tar.gz")
    started(FakeFactory(), HF_MODEL_ID="s3://bucket/model.tar.gz", OPTION_DOWNLOAD_DIR=str(directory / "kept"))
    assert "serving.properties of s3://bucket/model.tar.gz is not read" in caplog.text


def test_a_directory_is_where_it_is_and_its_options_are_in_force(directory, caplog):
    (directory / "serving.properties").write_text("option.dtype=bf16")
    factory = FakeFactory()
    started(factory, HF_MODEL_ID=str(directory))
    assert f"start {directory}" in factory.steps
    assert "is not read" not in caplog.text


def test_code_without_a_model_of_the_servers_is_enough(tmp_path):
    write(tmp_path, ECHO)
    answered = started(None, properties, HF_MODEL_ID=str(tmp_path))
    assert '"tensor_parallel_degree":"' in answered
    assert f'"model_dir":"{tmp_path}"' in answered


def test_code_that_leaves_the_model_to_an_engine_needs_one(tmp_path):
    write(tmp_path, FORMATTER)
    with pytest.raises(StartError, match="HF_MODEL_ID"):
        started(None, HF_MODEL_ID=str(tmp_path))


def test_formatters_surround_the_engine(directory):
    write(directory, FORMATTER)
    service = started(FakeFactory(), HF_MODEL_ID=str(directory))
    chosen = service.formatters({}, None)
    assert (chosen.input, chosen.output.formats_output) == (None, True)


def test_a_dead_engine_is_noticed(directory):
    with pytest.raises(EngineDead):
        started(FakeFactory(FakeEngine(dead=True)), HF_MODEL_ID=str(directory))


def test_code_that_takes_too_long_to_execute_ends_the_start(tmp_path):
    # Of another name, as it is executed to its end all the same.
    write(tmp_path, "import time\ntime.sleep(0.5)\n" + ECHO, "slow_to_execute.py")
    with pytest.raises(StartError, match=r"slow_to_execute.py was not executed .* OPTION_MODEL_LOADING_TIMEOUT"):
        started(
            FakeFactory(),
            HF_MODEL_ID=str(tmp_path),
            OPTION_ENTRY_POINT="slow_to_execute.py",
            OPTION_MODEL_LOADING_TIMEOUT="0.05",
        )


def test_a_model_that_loads_too_slowly_ends_the_start_at_a_stage_that_is_named(directory):
    never = threading.Event()
    factory = FakeFactory(load=lambda: never.wait(0.5))
    with pytest.raises(StartError, match=r"last stage was: loading the model\. .*OPTION_MODEL_LOADING_TIMEOUT"):
        started(factory, HF_MODEL_ID=str(directory), OPTION_MODEL_LOADING_TIMEOUT="0.05")
    assert factory.steps[-1] == "close"


def test_adapters_beside_the_model_are_served_before_it_is_ready(directory):
    write_adapter(directory / "adapters" / "dutch")
    factory = FakeFactory()

    async def served(ready):
        return list(ready.service.adapters.served), factory.engine.seen[0].request_id

    assert started(factory, served, HF_MODEL_ID=str(directory), OPTION_ENABLE_LORA="true") == (["dutch"], "warm-up")


def test_a_start_that_is_given_up_ends_what_it_began(directory):
    loading, hold = threading.Event(), threading.Event()
    factory = FakeFactory(load=lambda: (loading.set(), hold.wait(2)))

    async def give_up(options):
        startup = startup_of(options, factory, lambda _: None)
        task = asyncio.create_task(startup.run())
        assert await asyncio.to_thread(loading.wait, 5)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        hold.set()
        await startup.stop()

    with options_of(HF_MODEL_ID=str(directory)) as options:
        asyncio.run(give_up(options))
    assert factory.steps == ["preload", f"start {directory}", "close"]
    assert not factory.engine.stopped
