import asyncio
import os

import pytest

from container.model_store import fetch_adapter
from handler.adapters.store import AdapterStore
from handler.errors import InvalidRequest, ServerError
from tests.adapter_cases import SHAPES, tensors, write_adapter
from tests.s3_server import s3_served


@pytest.fixture
def allowed(tmp_path):
    directory = tmp_path / "allowed"
    directory.mkdir()
    return directory


@pytest.fixture
def store(tmp_path, allowed):
    return AdapterStore(tmp_path / "kept", [allowed], fetch_adapter)


def fetch(store, source):
    return asyncio.run(store.fetch(str(source)))


def error(store, source, tmp_path):
    with pytest.raises(InvalidRequest) as caught:
        fetch(store, source)
    assert caught.value.param == "src"
    assert not (tmp_path / "kept").exists() or not list((tmp_path / "kept").iterdir())
    return caught.value


@pytest.mark.parametrize("spelt", ["{allowed}/a/b", "file://{allowed}/a/b", "a/b", "a//b/", "./a/b"])
def test_an_adapter_in_an_allowed_directory_is_copied(store, allowed, spelt):
    source = write_adapter(allowed / "a" / "b")
    (source / "training.log").write_text("x")
    kept = fetch(store, spelt.format(allowed=allowed))
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == {
        name: (source / name).read_bytes() for name in ("adapter_config.json", "adapter_model.safetensors")
    }
    assert kept.stat().st_mode & 0o077 == 0
    store.discard(kept)
    assert not kept.exists()


def test_an_allowed_directory_may_itself_be_a_link(tmp_path, allowed):
    write_adapter(allowed / "a")
    (tmp_path / "link").symlink_to(allowed)
    for root in (tmp_path / "link", allowed):
        store = AdapterStore(tmp_path / "kept", [root], fetch_adapter)
        assert fetch(store, root / "a")
    assert fetch(AdapterStore(tmp_path / "kept", [tmp_path / "link"], fetch_adapter), allowed / "a")


@pytest.mark.parametrize(
    "source",
    [
        "/etc", "/", "..", "../outside", "a/../../outside", "{allowed}/../outside", "{allowed}x", "https://host/a",
        "hub/id\0", "file:///etc", "ftp://host/a", "{outside}",
    ],
)  # fmt: skip
def test_a_source_elsewhere_is_forbidden_whether_it_exists_or_not(store, allowed, tmp_path, source):
    write_adapter(tmp_path / "outside")
    write_adapter(allowed / "a")
    fault = error(store, source.format(allowed=allowed, outside=tmp_path / "outside"), tmp_path)
    assert fault.code == "adapter_forbidden"
    there = error(store, "/etc/passwd", tmp_path)
    nowhere = error(store, "/no/such/thing", tmp_path)
    assert str(there) == str(nowhere)


def test_a_link_out_of_an_allowed_directory_is_not_followed(store, allowed, tmp_path):
    outside = write_adapter(tmp_path / "outside")
    (allowed / "link").symlink_to(outside)
    (allowed / "deep").symlink_to(tmp_path)
    (allowed / "file").mkdir()
    (allowed / "file" / "adapter_config.json").symlink_to(outside / "adapter_config.json")
    for source in ("link", "deep/outside", "file"):
        assert "link" in str(error(store, source, tmp_path))


def test_pipes_and_directories_are_not_regular_files(store, allowed, tmp_path):
    (allowed / "a").mkdir()
    os.mkfifo(allowed / "a" / "adapter_config.json")
    assert "not a regular file" in str(error(store, "a", tmp_path))
    (allowed / "b" / "adapter_config.json").mkdir(parents=True)
    assert "not a regular file" in str(error(store, "b", tmp_path))


def test_what_is_missing_is_named(store, allowed, tmp_path):
    assert "not a directory" in str(error(store, "nothing", tmp_path))
    write_adapter(allowed / "a")
    assert "not a directory" in str(error(store, "a/adapter_config.json", tmp_path))
    (allowed / "a" / "adapter_model.safetensors").unlink()
    assert "does not contain adapter_model.safetensors" in str(error(store, "a", tmp_path))


def test_a_full_disk_is_a_server_error_and_leaves_nothing(tmp_path, allowed):
    write_adapter(allowed / "a")
    store = AdapterStore(tmp_path / "kept", [allowed], fetch_adapter, free=lambda _: 10)
    with pytest.raises(ServerError, match="not enough disk space"):
        fetch(store, "a")
    assert not list((tmp_path / "kept").iterdir())


def test_nothing_is_left_at_the_end(store, allowed, tmp_path):
    write_adapter(allowed / "a")
    for _ in range(2):
        fetch(store, "a")
    store.close()
    assert not list((tmp_path / "kept").iterdir())


@pytest.fixture
def s3(monkeypatch, tmp_path):
    with s3_served() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "who")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        source = write_adapter(tmp_path / "uploaded")
        for path in source.iterdir():
            server.put(f"adapters/dutch/{path.name}", path)
        yield server


def test_an_adapter_on_s3_is_downloaded_to_a_directory_of_its_own(store, s3, tmp_path):
    first, second = (fetch(store, "s3://bucket/adapters/dutch") for _ in range(2))
    assert first != second
    assert (first / "adapter_model.safetensors").read_bytes() == tensors(SHAPES)
    store.discard(first)
    assert (second / "adapter_config.json").exists()
    store.discard(second)
    assert not list((tmp_path / "kept").iterdir())


@pytest.mark.parametrize("source", ["s3://bucket/adapters/other", "s3://bucket/adapters", "s3://"])
def test_an_adapter_that_is_not_on_s3_is_an_error(store, s3, tmp_path, source):
    if source == "s3://bucket/adapters":  # two of them: neither is meant
        s3.files["adapters/german/adapter_config.json"] = s3.files["adapters/dutch/adapter_config.json"]
    assert error(store, source, tmp_path).code == "adapter_unavailable"
