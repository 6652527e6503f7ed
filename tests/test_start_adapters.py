import asyncio
import logging

import pytest

from container.model_store import fetch_adapter
from container.start.adapters import find_static_adapters, load_static_adapters
from handler.adapters.registry import Adapters
from handler.adapters.store import AdapterStore
from handler.engines.fake import FakeEngine
from handler.errors import StartError
from tests.adapter_cases import write_adapter
from tests.option_cases import resolved


def find(home, *homes, **environ):
    options = resolved({"OPTION_ENABLE_LORA": "true", **environ}).options
    store = AdapterStore(home / "kept", [], fetch_adapter)
    return asyncio.run(find_static_adapters(options, (home, *homes), store))


def error(home, **environ):
    with pytest.raises(StartError) as caught:
        find(home, **environ)
    return str(caught.value)


def test_each_directory_in_adapters_of_the_model_is_an_adapter(tmp_path):
    model, mounted = tmp_path / "model", tmp_path / "mounted"
    for home, name in ((model, "french"), (model, ".cache"), (mounted, "german")):
        write_adapter(home / "adapters" / name)
    (model / "adapters" / "README").write_text("")
    assert [adapter.name for adapter in find(model, mounted)] == ["french", "german"]
    assert [adapter.name for adapter in find(model, model)] == ["french"]


def test_the_paths_of_the_option_are_relative_to_the_model_or_absolute(tmp_path):
    write_adapter(tmp_path / "model" / "trained" / "french")
    write_adapter(tmp_path / "german")
    named = f"french=trained/french,german={tmp_path / 'german'}"
    adapters = find(tmp_path / "model", OPTION_LORA_MODULES=named)
    assert [(one.name, one.directory.name, one.source) for one in adapters] == [
        ("french", "french", "trained/french"),
        ("german", "german", str(tmp_path / "german")),
    ]


def test_the_adapter_of_a_modality_has_its_name(tmp_path):
    write_adapter(tmp_path / "vision")
    (adapter,) = find(tmp_path, OPTION_DEFAULT_MM_LORAS='{"image": "vision"}')
    assert (adapter.name, adapter.source) == ("image", "vision")


def test_a_model_without_adapters_is_valid(tmp_path):
    assert find(tmp_path) == ()


def test_adapters_that_are_not_enabled_are_named_in_a_warning(tmp_path, caplog):
    write_adapter(tmp_path / "adapters" / "french")
    assert find(tmp_path, OPTION_ENABLE_LORA="false") == ()
    assert "french are not served; set OPTION_ENABLE_LORA=true" in caplog.text


def test_a_rank_over_the_limit_is_an_error_that_names_the_option_and_its_value(tmp_path):
    write_adapter(tmp_path / "adapters" / "steep", rank_pattern={"q_proj": 48})
    message = error(tmp_path)
    assert "steep has rank 48" in message
    assert "OPTION_MAX_LORA_RANK is 16; start with OPTION_MAX_LORA_RANK=64" in message
    assert find(tmp_path, OPTION_MAX_LORA_RANK="64")
    write_adapter(tmp_path / "adapters" / "steep", rank_pattern={"q_proj": 1000})
    assert "vLLM supports ranks up to 512" in error(tmp_path)


@pytest.mark.parametrize(
    ("modules", "words"),
    [
        ("french=nowhere", "which is not a directory"),
        ("french=other", "have the name french"),
        ("a#b=other", "not a valid adapter name"),
        ("lumi=other", "name of the model"),
    ],
)
def test_an_adapter_that_cannot_be_served_is_a_start_error(tmp_path, modules, words):
    write_adapter(tmp_path / "adapters" / "french")
    write_adapter(tmp_path / "other")
    assert words in error(tmp_path, OPTION_LORA_MODULES=modules, OPTION_SERVED_MODEL_NAME="lumi")


def test_a_directory_without_an_adapter_is_a_start_error(tmp_path):
    (tmp_path / "adapters" / "empty").mkdir(parents=True)
    message = error(tmp_path)
    assert "adapters/empty" in message
    assert "no adapter_config.json" in message


def test_more_adapters_than_fit_into_memory_are_a_warning_with_both_numbers(tmp_path, caplog):
    for name in "abcde":
        write_adapter(tmp_path / "adapters" / name)
    with caplog.at_level(logging.WARNING, "lumi.adapters"):
        assert len(find(tmp_path)) == 5
    assert "5 adapters are served and 4 kept in memory" in caplog.text


def test_the_engine_loads_them_or_the_start_fails(tmp_path):
    write_adapter(tmp_path / "adapters" / "french")
    engine = FakeEngine()
    asyncio.run(load_static_adapters(Adapters(engine, ["fake"]), find(tmp_path)))
    assert engine.adapters["french"].rank == 4
    small = FakeEngine(max_rank=2)
    with pytest.raises(StartError, match=r"french in .* cannot be served"):
        asyncio.run(load_static_adapters(Adapters(small, ["fake"]), find(tmp_path)))
