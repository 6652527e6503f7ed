import asyncio
import tarfile

import pytest

from container.http.health import Health
from container.model_store import locate
from container.nodes.rendezvous import SingleNode
from container.options import resolve
from container.start.loading import Loading
from handler.engines.vllm import field_names
from handler.errors import StartError
from tests.s3_server import s3_served


def loading(source, tmp_path):
    options = resolve(
        {"HF_MODEL_ID": source, "OPTION_DOWNLOAD_DIR": str(tmp_path / "kept")}, engine_fields=field_names
    ).options
    return Loading(options, locate(source), None, None, nodes=SingleNode(), health=Health())


def archive(tmp_path, *inner):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "serving.properties").write_text("option.dtype=bf16")
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as tar:
        for name in ("config.json", "serving.properties"):
            tar.add(tmp_path / name, "/".join((*inner, name)))
    return tmp_path / "model.tar.gz"


@pytest.mark.parametrize("inner", [(), ("model",)])
def test_options_in_an_archive_come_too_late_and_a_warning_says_so(inner, tmp_path, caplog, monkeypatch):
    with s3_served() as store:
        store.put("model.tar.gz", archive(tmp_path, *inner))
        for name, value in {"ENDPOINT_URL": store.url, "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        model = asyncio.run(loading("s3://bucket/model.tar.gz", tmp_path).fetch())
    assert model.startswith(str(tmp_path / "kept"))
    assert "serving.properties of s3://bucket/model.tar.gz is not read" in caplog.text


def test_a_directory_is_where_it_is_and_its_options_are_in_force(tmp_path, caplog):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "serving.properties").write_text("option.dtype=bf16")
    assert asyncio.run(loading(str(tmp_path), tmp_path).fetch()) == str(tmp_path)
    assert caplog.text == ""


def test_code_that_leaves_the_model_to_an_engine_that_is_not_there_is_told(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(StartError, match="HF_MODEL_ID"):
        asyncio.run(loading(str(tmp_path), tmp_path).load(str(tmp_path), None))
