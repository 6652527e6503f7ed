import asyncio
import logging

import pytest

from container.adapters.static import serve, static_adapters
from container.adapters.store import AdapterStore
from handler.adapters.registry import Adapters
from handler.engines.fake import FakeEngine
from handler.errors import StartError
from tests.adapter_cases import written
from tests.option_cases import resolved


def found(home, *homes, **environ):
    options = resolved({"OPTION_ENABLE_LORA": "true", **environ}).options
    store = AdapterStore(home / "kept", [])
    return asyncio.run(static_adapters(options, (home, *homes), store))


def refused(home, **environ):
    with pytest.raises(StartError) as caught:
        found(home, **environ)
    return str(caught.value)


def test_each_directory_in_adapters_of_the_model_is_an_adapter(tmp_path):
    model, mounted = tmp_path / "model", tmp_path / "mounted"
    for home, name in ((model, "french"), (model, ".cache"), (mounted, "german")):
        written(home / "adapters" / name)
    (model / "adapters" / "README").write_text("")
    assert [adapter.name for adapter in found(model, mounted)] == ["french", "german"]
    assert [adapter.name for adapter in found(model, model)] == ["french"]


def test_the_option_names_adapters_relative_to_the_model_or_absolute(tmp_path):
    written(tmp_path / "model" / "trained" / "french")
    written(tmp_path / "german")
    named = f"french=trained/french,german={tmp_path / 'german'}"
    adapters = found(tmp_path / "model", OPTION_LORA_MODULES=named)
    assert [(one.name, one.directory.name, one.source) for one in adapters] == [
        ("french", "french", "trained/french"),
        ("german", "german", str(tmp_path / "german")),
    ]


def test_adapters_of_a_kind_of_media_are_served_by_its_name(tmp_path):
    written(tmp_path / "vision")
    (adapter,) = found(tmp_path, OPTION_DEFAULT_MM_LORAS='{"image": "vision"}')
    assert (adapter.name, adapter.source) == ("image", "vision")


def test_nothing_there_is_nothing_wrong(tmp_path):
    assert found(tmp_path) == ()


def test_adapters_that_are_there_but_off_are_named_in_a_warning(tmp_path, caplog):
    written(tmp_path / "adapters" / "french")
    assert found(tmp_path, OPTION_ENABLE_LORA="false") == ()
    assert "french are not served; set OPTION_ENABLE_LORA=true" in caplog.text


def test_a_rank_beyond_the_option_is_refused_with_the_option_that_would_do(tmp_path):
    written(tmp_path / "adapters" / "steep", rank_pattern={"q_proj": 48})
    told = refused(tmp_path)
    assert "steep has the rank 48" in told
    assert "OPTION_MAX_LORA_RANK is 16; start with OPTION_MAX_LORA_RANK=64" in told
    assert found(tmp_path, OPTION_MAX_LORA_RANK="64")
    written(tmp_path / "adapters" / "steep", rank_pattern={"q_proj": 1000})
    assert "512 at most" in refused(tmp_path)


@pytest.mark.parametrize(
    ("modules", "words"),
    [
        ("french=nowhere", "no such directory"),
        ("french=other", "called french"),
        ("a#b=other", "no name for an adapter"),
        ("lumi=other", "name of the model"),
    ],
)
def test_what_cannot_be_served_ends_the_start(tmp_path, modules, words):
    written(tmp_path / "adapters" / "french")
    written(tmp_path / "other")
    assert words in refused(tmp_path, OPTION_LORA_MODULES=modules, OPTION_SERVED_MODEL_NAME="lumi")


def test_a_directory_that_holds_no_adapter_ends_the_start(tmp_path):
    (tmp_path / "adapters" / "empty").mkdir(parents=True)
    told = refused(tmp_path)
    assert "adapters/empty" in told
    assert "no adapter_config.json" in told


def test_more_than_are_kept_in_memory_is_a_warning_with_both_numbers(tmp_path, caplog):
    for name in "abcde":
        written(tmp_path / "adapters" / name)
    with caplog.at_level(logging.WARNING, "lumi.adapters"):
        assert len(found(tmp_path)) == 5
    assert "5 adapters are served and 4 kept in memory" in caplog.text


def test_the_engine_serves_them_or_the_start_ends(tmp_path):
    written(tmp_path / "adapters" / "french")
    engine = FakeEngine()
    asyncio.run(serve(Adapters(engine, ["fake"]), found(tmp_path)))
    assert engine.adapters["french"].rank == 4
    small = FakeEngine(most_rank=2)
    with pytest.raises(StartError, match=r"french in .* is refused"):
        asyncio.run(serve(Adapters(small, ["fake"]), found(tmp_path)))
