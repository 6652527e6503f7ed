import os
import subprocess
import sys
from pathlib import Path

import pytest

from container.commands import parse
from container.entrypoint import main
from handler.errors import StartError

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "demo" / "model"


@pytest.mark.parametrize("words", [[], ["serve"], ["serve", "-s", "."]])
def test_serve_is_what_an_image_does(words):
    assert parse(words).name == "serve"


def test_arguments_alone_mean_serve(tmp_path):
    assert parse(["-s", str(tmp_path)]).model_directory == tmp_path


@pytest.mark.parametrize("form", ["test=file:{}/", "test=file://{}", "test::Python:*={}", "[test:1:Python]=file:{}"])
def test_a_directory_of_lmi_is_where_the_model_and_its_properties_are(tmp_path, form):
    command = parse(["serve", "-m", form.format(tmp_path)])
    assert command.model_directory == tmp_path
    assert command.settings == {"OPTION_SERVED_MODEL_NAME": "test"}


def test_a_directory_needs_no_name(tmp_path):
    command = parse(["serve", "--models", f"file:{tmp_path}"])
    assert (command.model_directory, command.settings) == (tmp_path, {})


def test_any_other_address_is_a_model_id():
    assert parse(["serve", "-m", "s3://bucket/model"]).settings == {"OPTION_MODEL_ID": "s3://bucket/model"}
    named = parse(["serve", "-m", "mine=llava-hf/llava-1.5-7b-hf"]).settings
    assert named == {"OPTION_MODEL_ID": "llava-hf/llava-1.5-7b-hf", "OPTION_SERVED_MODEL_NAME": "mine"}


def test_a_model_is_nearer_than_a_model_store(tmp_path):
    model = tmp_path / "one"
    model.mkdir()
    for words in (["-s", str(tmp_path), "-m", str(model)], ["-m", str(model), "-s", str(tmp_path)]):
        assert parse(["serve", *words]).model_directory == model


def test_a_file_of_server_settings_is_read_in_place_of_lmis_own(tmp_path):
    file = tmp_path / "config.properties"
    file.write_text("job_queue_size=7\n")
    assert parse(["serve", "-f", str(file)]).server_file == file


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["dance"], "'dance' is not a command"),
        (["batch"], "not supported yet"),
        (["serve", "--fast"], "'--fast' is not an argument"),
        (["serve", "fast"], "'fast' does not follow an argument"),
        (["serve", "-m"], "0 values"),
        (["serve", "-m", "a=s3://x/y", "b=s3://x/z"], "Lumi serves one model"),
        (
            ["serve", "-s", "/nowhere/at/all"],
            "The directory /nowhere/at/all cannot be read (No such file or directory)",
        ),
        (["serve", "-f", "/nowhere.properties"], "/nowhere.properties"),
        (["ping", "-s", "."], "ping takes no arguments"),
        (["serve", "-w", "flow.json"], "no workflows"),
        (["serve", "-i", "pandas"], "FROM this one"),
    ],
)
def test_what_cannot_be_done_is_an_error(words, message):
    with pytest.raises(StartError) as error:
        parse(words)
    assert message in str(error.value)


@pytest.mark.parametrize("words", [["-h"], ["--help"], ["serve", "--help"], ["help"]])
def test_help_is_an_answer(words, capsys):
    assert main(words, {}) == 0
    assert "--model-store" in capsys.readouterr().out


def test_the_environment_wins_over_a_file_of_server_settings(tmp_path):
    file = tmp_path / "config.properties"
    file.write_text("job_queue_size=7\ninference_address=http://0.0.0.0:9090\n")
    outcome = subprocess.run(
        [sys.executable, "-m", "container", "check", "-f", file, "-m", f"shapes=file:{DEMO}"],
        cwd=ROOT,
        env={**os.environ, "SERVING_JOB_QUEUE_SIZE": "8", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    printed = outcome.stdout
    rows = {line.split()[0]: line.split()[1] for line in printed.splitlines() if line[:1].islower()}
    assert (rows["job_queue_size"], rows["port"]) == ("8", "9090")
    assert rows["dtype"] == "float32"  # from the serving.properties of the directory


@pytest.mark.parametrize("words", [["--instance-type", "ml.g5.2xlarge"], ["--instance-type=ml.g5.2xlarge"]])
def test_check_compares_with_an_instance_type(words):
    assert parse(["check", *words]).instance_type == "ml.g5.2xlarge"


def test_an_instance_type_is_nothing_to_serve_by():
    with pytest.raises(StartError, match="is an argument of check"):
        parse(["serve", "--instance-type", "ml.g5.2xlarge"])
