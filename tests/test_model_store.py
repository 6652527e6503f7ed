import asyncio

import pytest

from container.model_store import Kind, fetch, locate
from handler.errors import StartError


def test_an_id_of_the_hub_is_its_own_name():
    located = locate("llava-hf/llava-v1.6-mistral-7b-hf")
    assert (located.kind, located.source) == (Kind.HUB, "llava-hf/llava-v1.6-mistral-7b-hf")
    assert located.names == (located.source,)


@pytest.mark.parametrize("name", ["config.json", "params.json"])
def test_a_directory_goes_by_its_name_and_its_path(tmp_path, name):
    directory = tmp_path / "my-model"
    directory.mkdir()
    (directory / name).write_text("{}")
    located = locate(str(directory))
    assert (located.kind, located.source) == (Kind.DIRECTORY, str(directory))
    assert located.names == ("my-model", str(directory))


@pytest.mark.parametrize(
    ("written", "source", "name"),
    [
        ("s3://bucket/models/llava", "s3://bucket/models/llava", "llava"),
        ("s3://bucket/models/llava/", "s3://bucket/models/llava", "llava"),
        ("s3://bucket", "s3://bucket", "bucket"),
        ("s3://bucket/", "s3://bucket", "bucket"),
        ("s3://bucket/a/model.tar.gz", "s3://bucket/a/model.tar.gz", "model"),
    ],
)
def test_a_prefix_on_s3_goes_by_its_last_segment_and_its_address(written, source, name):
    located = locate(written)
    assert (located.kind, located.source, located.names) == (Kind.S3, source, (name, source))


def test_a_local_directory_is_fetched_as_it_stands(directory):
    assert asyncio.run(fetch(locate(str(directory)), print)) == str(directory)


# What SageMaker unpacks into /opt/ml/model.


def test_user_code_beside_a_model_is_left_alone(directory):
    (directory / "code").mkdir()
    (directory / "code" / "config.json").write_text("{}")
    assert locate(str(directory)).source == str(directory)


def test_the_single_directory_with_a_model_in_it_is_the_model(tmp_path, caplog):
    for name in ("llava", "code", ".cache", "empty"):
        (tmp_path / name).mkdir()
    for name in ("llava", "code", ".cache"):
        (tmp_path / name / "config.json").write_text("{}")
    with caplog.at_level("INFO", logger="lumi.model"):
        located = locate(str(tmp_path))
    assert located.source == str(tmp_path / "llava")
    assert located.names == (tmp_path.name, str(tmp_path))
    assert f"the model is in {tmp_path}/llava" in caplog.text


def test_of_several_models_one_has_to_be_named(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    with pytest.raises(StartError, match="several models: a, b; name one"):
        locate(str(tmp_path))


def test_a_directory_without_a_model_says_what_was_looked_for(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "inference.py").write_text("")
    with pytest.raises(StartError, match=r"it needs config.json or params.json, but there is code/, notes.txt. code/"):
        locate(str(tmp_path))


def test_an_empty_directory_says_so(tmp_path):
    with pytest.raises(StartError, match="but there is nothing"):
        locate(str(tmp_path))


@pytest.mark.parametrize(
    ("model_id", "words"),
    [
        (None, "HF_MODEL_ID"),
        ("s3://", "not an address on S3"),
        ("/no/such/directory", "neither an existing directory nor"),
        ("a b", "neither an existing directory nor"),
    ],
)
def test_a_model_that_cannot_be_had_is_refused_in_words(model_id, words):
    with pytest.raises(StartError, match=words):
        locate(model_id)
