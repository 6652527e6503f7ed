import pytest

from container.model_store import locate
from handler.errors import StartError


def test_an_id_of_the_hub_is_its_own_name():
    model = locate("llava-hf/llava-v1.6-mistral-7b-hf")
    assert model.source == "llava-hf/llava-v1.6-mistral-7b-hf"
    assert model.names == (model.source,)


@pytest.mark.parametrize("name", ["config.json", "params.json"])
def test_a_directory_goes_by_its_name_and_its_path(tmp_path, name):
    directory = tmp_path / "my-model"
    directory.mkdir()
    (directory / name).write_text("{}")
    model = locate(str(directory))
    assert model.source == str(directory)
    assert model.names == ("my-model", str(directory))


def test_a_directory_without_a_model_says_what_was_looked_for(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(StartError, match=r"config.json or params.json was looked for; there is notes.txt"):
        locate(str(tmp_path))


@pytest.mark.parametrize(
    ("model_id", "words"),
    [
        (None, "HF_MODEL_ID"),
        ("s3://bucket/model", "not read yet"),
        ("/no/such/directory", "neither a directory that exists nor"),
        ("a b", "neither a directory that exists nor"),
    ],
)
def test_a_model_that_cannot_be_had_is_refused_in_words(model_id, words):
    with pytest.raises(StartError, match=words):
        locate(model_id)
