import asyncio
import os

import pytest

from container.adapters.store import AdapterStore
from handler.errors import InvalidRequest, ServerError
from tests.adapter_cases import SHAPES, tensors, written
from tests.s3_server import s3_served


@pytest.fixture
def allowed(tmp_path):
    directory = tmp_path / "allowed"
    directory.mkdir()
    return directory


@pytest.fixture
def store(tmp_path, allowed):
    return AdapterStore(tmp_path / "kept", [allowed])


def brought(store, source):
    return asyncio.run(store.bring(str(source)))


def refused(store, source, tmp_path):
    with pytest.raises(InvalidRequest) as caught:
        brought(store, source)
    assert caught.value.param == "src"
    assert not (tmp_path / "kept").exists() or not list((tmp_path / "kept").iterdir())
    return caught.value


@pytest.mark.parametrize("spelt", ["{allowed}/a/b", "file://{allowed}/a/b", "a/b", "a//b/", "./a/b"])
def test_an_adapter_in_an_allowed_directory_is_copied(store, allowed, spelt):
    source = written(allowed / "a" / "b")
    (source / "training.log").write_text("x")
    kept = brought(store, spelt.format(allowed=allowed))
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == {
        name: (source / name).read_bytes() for name in ("adapter_config.json", "adapter_model.safetensors")
    }
    assert kept.stat().st_mode & 0o077 == 0
    store.discard(kept)
    assert not kept.exists()


def test_an_allowed_directory_may_itself_be_behind_a_link(tmp_path, allowed):
    written(allowed / "a")
    (tmp_path / "link").symlink_to(allowed)
    for root in (tmp_path / "link", allowed):
        store = AdapterStore(tmp_path / "kept", [root])
        assert brought(store, root / "a")
    assert brought(AdapterStore(tmp_path / "kept", [tmp_path / "link"]), allowed / "a")


@pytest.mark.parametrize(
    "source",
    [
        "/etc", "/", "..", "../outside", "a/../../outside", "{allowed}/../outside", "{allowed}x", "https://host/a",
        "hub/id\0", "file:///etc", "ftp://host/a", "{outside}",
    ],
)  # fmt: skip
def test_whatever_lies_elsewhere_is_refused_and_not_told_of(store, allowed, tmp_path, source):
    written(tmp_path / "outside")
    written(allowed / "a")
    fault = refused(store, source.format(allowed=allowed, outside=tmp_path / "outside"), tmp_path)
    assert fault.code == "adapter_forbidden"
    there = refused(store, "/etc/passwd", tmp_path)
    nowhere = refused(store, "/no/such/thing", tmp_path)
    assert str(there) == str(nowhere)


def test_a_link_out_of_an_allowed_directory_is_not_followed(store, allowed, tmp_path):
    outside = written(tmp_path / "outside")
    (allowed / "link").symlink_to(outside)
    (allowed / "deep").symlink_to(tmp_path)
    (allowed / "file").mkdir()
    (allowed / "file" / "adapter_config.json").symlink_to(outside / "adapter_config.json")
    for source in ("link", "deep/outside", "file"):
        assert "link" in str(refused(store, source, tmp_path))


def test_pipes_and_directories_are_no_files(store, allowed, tmp_path):
    (allowed / "a").mkdir()
    os.mkfifo(allowed / "a" / "adapter_config.json")
    assert "no ordinary file" in str(refused(store, "a", tmp_path))
    (allowed / "b" / "adapter_config.json").mkdir(parents=True)
    assert "no ordinary file" in str(refused(store, "b", tmp_path))


def test_what_is_missing_is_named(store, allowed, tmp_path):
    assert "no directory" in str(refused(store, "nothing", tmp_path))
    written(allowed / "a")
    assert "no directory" in str(refused(store, "a/adapter_config.json", tmp_path))
    (allowed / "a" / "adapter_model.safetensors").unlink()
    assert "no adapter_model.safetensors" in str(refused(store, "a", tmp_path))


def test_a_full_disk_is_our_fault_and_keeps_nothing(tmp_path, allowed):
    written(allowed / "a")
    store = AdapterStore(tmp_path / "kept", [allowed], free=lambda _: 10)
    with pytest.raises(ServerError, match="no room"):
        brought(store, "a")
    assert not list((tmp_path / "kept").iterdir())


def test_nothing_is_left_at_the_end(store, allowed, tmp_path):
    written(allowed / "a")
    for _ in range(2):
        brought(store, "a")
    store.close()
    assert not list((tmp_path / "kept").iterdir())


@pytest.fixture
def s3(monkeypatch, tmp_path):
    with s3_served() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "who")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        source = written(tmp_path / "uploaded")
        for path in source.iterdir():
            server.put(f"adapters/dutch/{path.name}", path)
        yield server


def test_an_adapter_on_s3_is_downloaded_to_a_place_of_its_own(store, s3, tmp_path):
    first, second = (brought(store, "s3://bucket/adapters/dutch") for _ in range(2))
    assert first != second
    assert (first / "adapter_model.safetensors").read_bytes() == tensors(SHAPES)
    store.discard(first)
    assert (second / "adapter_config.json").exists()
    store.discard(second)
    assert not list((tmp_path / "kept").iterdir())


@pytest.mark.parametrize("source", ["s3://bucket/adapters/other", "s3://bucket/adapters", "s3://"])
def test_what_s3_does_not_have_is_refused(store, s3, tmp_path, source):
    if source == "s3://bucket/adapters":  # two of them: neither is meant
        s3.files["adapters/german/adapter_config.json"] = s3.files["adapters/dutch/adapter_config.json"]
    assert refused(store, source, tmp_path).code == "adapter_unavailable"
